"""What mmengine's checkpoints lack: random states, accumulated gradients, norms of each process."""

import logging
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from se_det.engine.resume.random_numbers import generator_states, set_generator_states

KEY = 'training_state'


class TrainingStateHook(Hook):
    """Save and restore what else a training depends on.

    That is the random states of all processes, gradients that are accumulated, and the running
    statistics of batch norms, where those of the processes differ: a checkpoint has the first
    one's. Validation leaves the random states as they were.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.before_validation: dict | None = None
        self.validated = -1
        self.resumed: dict | None = None
        self.states: list[dict] = []
        self.statistics: list[dict[str, Tensor]] = []

    def gather(self, runner: Runner) -> None:
        """Collect the states of all processes; all of them have to call this."""
        self.states = all_gather_object(self.before_validation or generator_states())
        own = {name: buffer.cpu() for name, buffer in _statistics(runner)}
        of_all = all_gather_object(own)
        alike = all(torch.equal(found[name], own[name]) for found in of_all for name in own)
        self.statistics = [] if alike else of_all

    def restore(self, runner: Runner) -> None:
        """Set generators and norms of this process to their states in the checkpoint."""
        rank = get_rank()
        if rank < len(self.resumed['random']):  # a further process keeps its own
            set_generator_states(self.resumed['random'][rank])
        of_all = self.resumed.get('statistics', [])
        for name, buffer in _statistics(runner) if rank < len(of_all) else ():
            buffer.copy_(of_all[rank][name])

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state to a checkpoint from which training can be resumed."""
        if 'optimizer' in checkpoint:
            gradients = {
                name: parameter.grad.cpu()
                for name, parameter in _parameters(runner)
                if parameter.grad is not None
            }
            if self.resumed is not None:  # no iteration since then
                gradients = self.resumed['gradients']
            checkpoint[KEY] = dict(
                random=self.states,
                statistics=self.statistics,
                gradients=gradients if _accumulates(runner) else {},
                validated=self.validated,
            )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state until training starts."""
        if not runner._resume:
            return
        self.resumed = checkpoint.get(KEY)
        if self.resumed is None:
            print_log(
                'The checkpoint has no random states: it was saved without them. Training resumes '
                'with other random numbers than an uninterrupted run has.',
                logger='current',
                level=logging.WARNING,
            )

    def before_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Restore the state before the first iteration."""
        if self.resumed is None:
            return
        self.restore(runner)
        gradients, self.resumed = self.resumed['gradients'], None
        for name, parameter in _parameters(runner) if gradients else ():
            if name in gradients:
                parameter.grad = gradients[name].to(parameter.device)

    def before_val_epoch(self, runner: Runner) -> None:
        """Keep the random states."""
        if self.resumed is not None:
            self.restore(runner)
        self.before_validation = generator_states()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Restore the random states."""
        set_generator_states(self.before_validation)
        self.before_validation = None
        self.validated = runner.iter


class MissedValidationHook(Hook):
    """After a resume, validate if the checkpoint was saved before a validation that was due.

    Args:
        state: the hook that has the training state of the checkpoint.
    """

    priority = 'LOWEST'  # after those that validation needs

    def __init__(self, state: TrainingStateHook) -> None:
        self.state = state

    def before_train(self, runner: Runner) -> None:
        """Validate, if it is due."""
        resumed, loop = self.state.resumed, runner.train_loop
        if resumed is None or runner.val_loop is None or resumed['validated'] == loop.iter:
            return
        if isinstance(loop, EpochBasedTrainLoop):
            done, end, is_at_step = loop.epoch, loop.max_epochs, not getattr(loop, 'done', 1)
        else:
            done, end, is_at_step = loop.iter, loop.max_iters, True
        loop._decide_current_val_interval()
        is_due = done % loop.val_interval == 0 or done == end
        if is_at_step and done >= loop.val_begin and is_due:
            runner.val_loop.run()


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def _parameters(runner: Runner) -> Iterator[tuple[str, nn.Parameter]]:
    return _model(runner).named_parameters()


def _statistics(runner: Runner) -> Iterator[tuple[str, Tensor]]:
    """The running statistics of batch norms: names and buffers."""
    for name, norm in _model(runner).named_modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            yield from norm.named_buffers(prefix=name)


def _accumulates(runner: Runner) -> bool:
    """Whether gradients of iterations are summed up, and not yet all applied."""
    wrapper = runner.optim_wrapper
    counts = getattr(wrapper, '_accumulative_counts', 1)
    return counts > 1 and wrapper.inner_count % counts != 0
