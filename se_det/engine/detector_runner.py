"""mmengine's Runner, with exact resume and checkpoints that survive."""

from typing import Any

from mmengine.dist import get_world_size
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, LOOPS, Registry
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import DataLoader

from se_det.datasets.check.annotation_file import without_garbage_collection
from se_det.engine.coco_metric import EitherCocoMetric, checked_library
from se_det.engine.console import quieten, silent_annotations
from se_det.engine.finite import FiniteLossHook, check_finite
from se_det.engine.progress import ProgressHook
from se_det.engine.resume.checkpoint_files import WholeCheckpointHook
from se_det.engine.resume.interruption import InterruptionHook
from se_det.engine.resume.saved_first import SavedFirstHook
from se_det.engine.resume.train_loops import RESUMABLE
from se_det.engine.resume.training_state import MissedValidationHook, TrainingStateHook
from se_det.engine.start.evaluator_trial import is_coco_metric
from se_det.errors import Interrupted, UsageError


class DetectorRunner(Runner):
    """A Runner that loses nothing when it is killed.

    mmengine's training loops and CheckpointHook are replaced by those of `se_det.engine.resume`;
    others that a config names are left as they are.
    """

    def register_hooks(self, default_hooks: dict | None, custom_hooks: list | None = None) -> None:
        """Register the hooks of the config, and those that this class needs."""
        default_hooks = dict(default_hooks or {})
        checkpoint = default_hooks.get('checkpoint', dict(type='CheckpointHook', interval=1))
        if isinstance(checkpoint, dict) and _class(HOOKS, checkpoint['type']) is CheckpointHook:
            arguments = {k: v for k, v in checkpoint.items() if k not in ('type', '_scope_')}
            default_hooks['checkpoint'] = WholeCheckpointHook(**arguments)
        super().register_hooks(default_hooks, custom_hooks)
        self.training_state = TrainingStateHook()
        self.register_hook(self.training_state)
        self.saved = SavedFirstHook()
        self.register_hook(self.saved)
        self.interruption = InterruptionHook()
        self.register_hook(self.interruption)
        # It validates with signals handled, and after the others that validation needs.
        self.register_hook(MissedValidationHook(self.training_state))
        self.register_hook(ProgressHook())
        if not any(isinstance(hook, FiniteLossHook) for hook in self.hooks):
            self.register_hook(FiniteLossHook())

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, which shows little of what it writes to its file."""
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        return logger

    def train(self) -> nn.Module:
        """Train.

        Returns:
            The model.

        Raises:
            Interrupted: a signal ended the training, in general after a checkpoint was saved.
            UsageError: losses or weights are not finite, a checkpoint cannot be written, or
                validation or a hook failed.
        """
        try:
            return super().train()
        except (Interrupted, UsageError):
            raise
        except RuntimeError as error:
            if (received := self.interruption.received) is None:
                raise self._named(error) from error
            raise Interrupted(  # the signal also went to processes that this one needs
                f'{received.name}: stopped, and nothing was saved since the last checkpoint, as '
                f'{str(error).splitlines()[0]} Type the same command with --resume to continue.',
                received,
            ) from error
        except Exception as error:
            raise self._named(error) from error
        finally:
            self.interruption.restore_handlers()

    def _named(self, error: Exception) -> Exception:
        """What a validation raised, with a message that says what is saved."""
        if not self.saved.is_validating:
            return error
        return self.saved.failure(self, f'Validation after iteration {self.iter}', error)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Call the hooks; if one fails after training, call the others first.

        A training of one process then saves its state. Of several, the last checkpoint stays.

        Raises:
            UsageError: a hook failed after an iteration or an epoch of training.
        """
        if fn_name not in ('after_train_iter', 'after_train_epoch'):
            super().call_hook(fn_name, **kwargs)
            return
        failed = {}
        for hook in self.hooks:
            try:
                getattr(hook, fn_name)(self, **kwargs)
            except (Interrupted, UsageError):
                raise
            except Exception as error:
                failed[f'{type(hook).__name__}.{fn_name}'] = error
        for name, error in failed.items():
            if get_world_size() == 1:  # else a process whose hooks did not fail takes no part
                self.saved.save(self, self.iter + (fn_name == 'after_train_iter'))
            raise self.saved.failure(self, name, error) from error

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """Build a data loader, whose data set makes millions of small objects.

        Args:
            *args: as for Runner.
            **kwargs: as for Runner.
        """
        with silent_annotations(), without_garbage_collection():
            return Runner.build_dataloader(*args, **kwargs)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Build the evaluator, with `EitherCocoMetric` for CocoMetric."""
        if isinstance(evaluator, Evaluator) or 'metrics' in evaluator:
            return super().build_evaluator(evaluator)
        metrics = evaluator if isinstance(evaluator, (list, tuple)) else [evaluator]
        return super().build_evaluator([self._either(metric) for metric in metrics])

    def _either(self, metric: Any) -> Any:
        if not is_coco_metric(metric):
            return metric
        options = {name: value for name, value in metric.items() if name not in ('type', '_scope_')}
        library = checked_library(self.cfg.get('coco_evaluation', 'hotcoco'))
        return EitherCocoMetric(library=library, **options)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop."""
        if isinstance(loop, dict):
            loop = dict(loop)
            by_epoch = loop.pop('by_epoch', True)
            default = EpochBasedTrainLoop if by_epoch else IterBasedTrainLoop
            given = _class(LOOPS, loop['type']) if 'type' in loop else default
            loop['type'] = RESUMABLE.get(given, given)
        return super().build_train_loop(loop)

    def save_checkpoint(
        self, *args: Any, meta: dict | None = None, by_epoch: bool = True, **kwargs: Any
    ) -> None:
        """Save a checkpoint, with the random states of all processes; all have to call this.

        Args:
            *args: as for Runner.
            meta: as for Runner.
            by_epoch: as for Runner.
            **kwargs: as for Runner.

        Raises:
            UsageError: a weight is not finite, or the file cannot be written.
        """
        check_finite(self.model.module if is_model_wrapper(self.model) else self.model)
        self.training_state.gather(self)
        meta = {'iter': self.iter + (not by_epoch), **(meta or {})}
        super().save_checkpoint(*args, meta=meta, by_epoch=by_epoch, **kwargs)
        self.saved.saved_at = meta['iter']  # in all processes; the hooks are called in one


def _class(registry: Registry, kind: str | type) -> type | None:
    """A class, given as in a config: its registered name or, in a pure Python one, itself."""
    return registry.get(kind) if isinstance(kind, str) else kind
