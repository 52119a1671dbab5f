"""What is checked of a run before it starts."""

from mmengine.config import Config

from se_det.engine.start.data import check_data
from se_det.engine.start.evaluator_trial import try_evaluator
from se_det.engine.start.frozen_stages import check_frozen_stages
from se_det.engine.start.preprocessing import check_preprocessing

__all__ = ['check_start']


def check_start(cfg: Config, splits: tuple[str, ...], data: bool = True) -> None:
    """Check what would only fail, or go wrong unnoticed, once a run has begun.

    Args:
        cfg: the config of the run.
        splits: which of ``'train'``, ``'val'`` and ``'test'`` the run uses.
        data: check the data too.

    Raises:
        UsageError: a check failed.
    """
    if 'train' in splits:
        check_frozen_stages(cfg)
        check_preprocessing(cfg)
    for split in splits:
        try_evaluator(cfg, split)
    if data:
        check_data(cfg, splits)
