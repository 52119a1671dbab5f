"""What fails after an iteration costs no iteration: the state is saved before it, or then."""

import logging
import traceback
from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import BaseLoop, Runner

from se_det.engine.resume.checkpoint_files import save_interrupted
from se_det.errors import UsageError


class SavedFirstHook(Hook):
    """Save ``interrupted.pth`` before a validation, unless a checkpoint has just been saved.

    Whatever ends the validation then, an evaluator, a hook or the machine, loses no training. A
    training without a CheckpointHook saves nothing.

    Attributes:
        saved_at: the iteration after which a checkpoint was saved last.
        is_validating: whether a validation of a training runs.
    """

    priority = 'HIGHEST'  # before a hook changes weights for the validation

    def __init__(self) -> None:
        self.saved_at = -1
        self.is_validating = False

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the iteration that was saved."""
        if runner._resume:
            self.saved_at = checkpoint['meta']['iter']

    def before_val(self, runner: Runner) -> None:
        """Save, if the state is not in a checkpoint yet."""
        if isinstance(runner._train_loop, BaseLoop):
            self.save(runner, runner.iter)
            self.is_validating = True

    def after_val(self, runner: Runner) -> None:
        """Note the end of the validation."""
        self.is_validating = False

    def save(self, runner: Runner, iteration: int) -> None:
        """Save the state after an iteration, if it is not in a checkpoint yet."""
        saves = any(isinstance(hook, CheckpointHook) for hook in runner.hooks)
        if saves and self.saved_at != iteration:
            save_interrupted(runner, iteration)

    def failure(self, runner: Runner, what: str, error: Exception) -> UsageError:
        """The error for what failed after an iteration; the log file has the traceback.

        Args:
            runner: of the training.
            what: what failed.
            error: that it raised.
        """
        logger = runner.logger
        text = ''.join(traceback.format_exception(error))
        record = (logger.name, logging.ERROR, __file__, 0, text, (), None)
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(logger.makeRecord(*record))
        *_, last = traceback.extract_tb(error.__traceback__)
        place = f'{"/".join(Path(last.filename).parts[-3:])}, line {last.lineno}'
        saved = f'The training is saved up to iteration {self.saved_at}'
        return UsageError(
            f'{what} failed: {type(error).__name__}: {error} ({place}).\n'
            f'{saved if self.saved_at > 0 else "Nothing is saved"}; the traceback is in '
            f'{getattr(logger, "log_file", "the log")}. Mend the cause, then type the same command '
            'with --resume.'
        )
