"""From a checkpoint to a model in evaluation mode, its test pipeline and its classes."""

from collections.abc import Sequence
from pathlib import Path

import torch
from mmdet.registry import DATASETS, MODELS, TRANSFORMS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import nn

from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.fit import load_whole
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.state_dicts import find_weights, metadata
from se_det.config_files import dicts_in, locate_teacher, model_of, read_config
from se_det.errors import UsageError
from se_det.inference.separable_roi_align import pool_separably
from se_det.inference.training_config import training_config
from se_det.mmcv_ops import is_compiled

STARTING_WEIGHTS = ('init_cfg', 'pretrained', 'teacher_ckpt')  # read or downloaded to no purpose


def load_trained(
    checkpoint: str | Path, config: str | Path | Config | None
) -> tuple[nn.Module, Config, tuple[str, ...]]:
    """Load a trained detector, on the CPU.

    With mmengine's EMAHook, ``state_dict`` has the averaged weights.

    Args:
        checkpoint: path or URL. Code in it is not run.
        config: that it was trained with; None: the one in the checkpoint.

    Returns:
        The model in evaluation mode, its config, and the names of its classes.

    Raises:
        UsageError: checkpoint or config cannot be read or do not fit each other, or nothing names
            the classes.
    """
    is_url = '://' in str(checkpoint)
    saved = read_checkpoint(fetch(str(checkpoint)) if is_url else checkpoint)
    if config is None:
        cfg = training_config(saved, str(checkpoint))
        name = 'the config in it'
    else:
        cfg = config if isinstance(config, Config) else read_config(config)
        name = str(cfg.filename or 'the config')
    model_of(cfg, name)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model = _build(cfg)
    load_whole(model, find_weights(saved, str(checkpoint)), str(checkpoint), name)
    return revert_sync_batchnorm(model).eval(), cfg, _classes(saved, cfg, str(checkpoint))


def make_faster_on_cpu(model: nn.Module) -> None:
    """Change how a model computes, not what: `SeparableRoIAlign`, and weights in channels_last.

    mmcv's compiled operators need contiguous maps.
    """
    pool_separably(model)
    if not is_compiled():
        model.to(memory_format=torch.channels_last)


def input_channels(model: nn.Module) -> int | None:
    """The channels of the images that a model takes: those of its first convolution."""
    weights = (weight for weight in model.parameters() if weight.ndim == 4)
    return next((weight.shape[1] for weight in weights), None)


def test_pipeline(cfg: Config) -> tuple[nn.Module, Compose]:
    """The transform that loads an image as uint8, and those after it, without annotations.

    Raises:
        UsageError: the config has no test pipeline that loads an image from a file.
    """
    steps = [dict(step) for step in test_steps(cfg) if 'Annotations' not in step['type']]
    if not steps or not steps[0]['type'].endswith('LoadImageFromFile'):
        raise UsageError(
            'Expected a test pipeline that begins with LoadImageFromFile; found '
            f'{[step["type"] for step in steps]}. Set test_dataloader in the config.'
        )
    load, *others = steps
    to_float32 = load.pop('to_float32', False)
    from_array = dict(type='mmdet.LoadImageFromNDArray', to_float32=to_float32)
    return TRANSFORMS.build(load), Compose([from_array, *others])


def test_steps(cfg: Config) -> Sequence[dict]:
    """The test pipeline of a config; none if it has none."""
    if 'test_dataloader' in cfg:
        return get_test_pipeline_cfg(cfg)
    return cfg.get('test_pipeline', ())


def _build(cfg: Config) -> nn.Module:
    model = ConfigDict(cfg.model.to_dict())
    for _, part in dicts_in(model):
        for key in STARTING_WEIGHTS:
            part.pop(key, None)
    if 'data_preprocessor' in cfg:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    locate_teacher(model)
    return MODELS.build(model)


def _classes(saved: dict, cfg: Config, source: str) -> tuple[str, ...]:
    meta = metadata(saved)
    of_data = meta.get('dataset_meta')
    trained = {
        str(key).lower(): value
        for key, value in (of_data if isinstance(of_data, dict) else meta).items()
    }
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    known: Sequence[str] | None = (
        trained.get('classes')
        or dataset.get('metainfo', {}).get('classes')
        or getattr(DATASETS.get(dataset.get('type', '')), 'METAINFO', {}).get('classes')
    )
    if not known:
        raise UsageError(
            f'Neither {source} nor the config names the classes. Set in the config '
            "test_dataloader.dataset.metainfo=dict(classes=('first', 'second'))."
        )
    return (known,) if isinstance(known, str) else tuple(known)
