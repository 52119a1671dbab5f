"""mmengine's training loops, which start at the iteration where a checkpoint was saved."""

from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from se_det.engine.resume.data_order import OrderedLoader


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """An EpochBasedTrainLoop that resumes within an epoch.

    Args:
        runner: the runner.
        dataloader: the training data, or its config.
        **kwargs: as for EpochBasedTrainLoop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        super().__init__(runner, _ordered(runner, dataloader), **kwargs)

    @property
    def done(self) -> int:
        """Iterations of the present epoch that are done."""
        done = self._iter - self._epoch * len(self.dataloader)
        # Otherwise batch size or data set have changed: the epoch starts again.
        return done if 0 <= done <= len(self.dataloader) else 0

    def run(self) -> Any:
        """Train."""
        self.start = self.done
        return super().run()

    def run_epoch(self) -> None:
        """Train an epoch, or the rest of it."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        start, self.start = self.start, 0
        self.dataloader.batch_sampler.set_epoch(self._epoch)
        self.dataloader.batch_sampler.advance(start)
        for idx, data_batch in enumerate(self.dataloader, start):
            self.run_iter(idx, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


@LOOPS.register_module()
class ResumableIterLoop(IterBasedTrainLoop):
    """An IterBasedTrainLoop that resumes without reading the data of earlier iterations.

    Args:
        runner: the runner.
        dataloader: the training data, or its config.
        **kwargs: as for IterBasedTrainLoop.
    """

    def __init__(self, runner: Runner, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        super().__init__(runner, _ordered(runner, dataloader), **kwargs)

    def run(self) -> Any:
        """Train."""
        self.dataloader.skip(self._iter)
        return super().run()


RESUMABLE = {EpochBasedTrainLoop: ResumableEpochLoop, IterBasedTrainLoop: ResumableIterLoop}


def _ordered(runner: Runner, dataloader: DataLoader | dict) -> OrderedLoader:
    diff_rank_seed = runner._randomness_cfg.get('diff_rank_seed', False)
    loader = runner.build_dataloader(dataloader, seed=runner.seed, diff_rank_seed=diff_rank_seed)
    return OrderedLoader(loader, runner.seed)
