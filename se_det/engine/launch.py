"""Train and test: from the arguments of the tools to a run of mmengine's Runner."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from mmdet.evaluation import DumpDetResults
from mmdet.utils import setup_cache_size_limit_of_dynamo
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner

from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.safe_loading import safe_loading
from se_det.config_files import CHECKOUT, read_config
from se_det.engine.console import ConsoleHook
from se_det.engine.detector_runner import DetectorRunner
from se_det.engine.distributed import join_process_group
from se_det.engine.resume.checkpoint_files import is_resumable, latest_checkpoint
from se_det.engine.start import check_start
from se_det.engine.start.loaded_keys import CheckpointFitHook
from se_det.engine.start.options import check_top_level, set_options
from se_det.engine.start.start_errors import named_start_errors
from se_det.engine.unreadable_images import UnreadableImagesHook
from se_det.errors import UsageError
from se_det.files import check_folder, check_output
from se_det.swap import swap_backbone


def train(
    config: str,
    *,
    work_dir: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    resume: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    se: bool = False,
    launcher: str = 'none',
    data_check: bool = True,
) -> None:
    """Train a detector, with a validation after each epoch.

    Args:
        config: the config file, as for `se_det.config_files.find_config`.
        work_dir: where checkpoints and logs go; default ``work_dirs/<name of the config>``.
        amp: train in mixed precision; needs a GPU.
        auto_scale_lr: scale the learning rate with the batch size.
        resume: ``'auto'`` for the latest checkpoint in ``work_dir`` (if there is none, training
            starts as without ``resume``), or a checkpoint file.
        cfg_options: dotted names in the config and their values. With ``se``, they are set before
            SE is added.
        se: run the config's SE twin, see `se_det.swap_backbone`; ``_se`` is added to the default
            ``work_dir``.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        data_check: check the data before anything is built.

    Raises:
        UsageError: config, options, data or checkpoint cannot be used; the message says why.
    """
    with named_start_errors(config, cfg_options) as first_iteration, safe_loading():
        cfg = load_config(config, work_dir, cfg_options, se)
        check_folder(cfg.work_dir)
        if amp:
            if get_device() == 'cpu':
                raise UsageError('--amp needs a GPU, and none was found. Leave --amp out.')
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
            cfg.optim_wrapper.loss_scale = 'dynamic'
        if auto_scale_lr:
            if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
                raise UsageError(
                    '--auto-scale-lr needs the batch size that the learning rate was chosen for. '
                    f'Add to {config}: auto_scale_lr = dict(base_batch_size=16)'
                )
            cfg.auto_scale_lr.enable = True
        _resume_or_start(cfg, resume)
        check_start(cfg, ('train', 'val'), data_check)
        runner = _build_runner(cfg, launcher, whole_checkpoint=cfg.resume)
        runner.register_hook(first_iteration)
        runner.train()


def test(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
    cfg_options: Mapping[str, Any] | None = None,
    se: bool = False,
    launcher: str = 'none',
    data_check: bool = True,
) -> None:
    """Evaluate a checkpoint on the test data of a config.

    Args:
        config: as in `train`.
        checkpoint: path or URL of the checkpoint.
        work_dir: where the log goes; default as in `train`.
        out: a ``.pkl`` file for the predictions.
        show: show each image with its detections in a window.
        show_dir: a folder for these images, below ``work_dir/<timestamp>``.
        wait_time: seconds to show an image for.
        tta: average over flipped images (test-time augmentation).
        cfg_options: as in `train`.
        se: as in `train`; the checkpoint is the twin's.
        launcher: as in `train`.
        data_check: as in `train`.

    Raises:
        UsageError: as in `train`; or ``out`` does not end in ``.pkl`` or ``.pickle``.
    """
    if out and not out.endswith(('.pkl', '.pickle')):
        raise UsageError(f'--out must end in .pkl; got {out}.')
    if out:
        check_output(out, [checkpoint])
    with named_start_errors(config, cfg_options) as first_iteration, safe_loading():
        cfg = load_config(config, work_dir, cfg_options, se)
        check_folder(cfg.work_dir)
        cfg.load_from = _existing_checkpoint(checkpoint)
        if show or show_dir:
            cfg.default_hooks.visualization.update(draw=True, show=show, wait_time=wait_time)
            cfg.default_hooks.visualization.test_out_dir = show_dir
        if tta:
            _augment_at_test_time(cfg)
        check_start(cfg, ('test',), data_check)
        runner = _build_runner(cfg, launcher, whole_checkpoint=True)
        runner.register_hook(first_iteration)
        if out:
            runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
        runner.test()


def load_config(
    config: str,
    work_dir: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    se: bool = False,
) -> Config:
    """Read a config as the tools do.

    Args:
        config: as in `train`.
        work_dir: as in `train`.
        cfg_options: as in `train`.
        se: as in `train`.

    Raises:
        UsageError: the file does not exist or is not a config, has no backbone to swap with
            ``se``, or an option does not fit it.
    """
    cfg = configure(config, [cfg_options or {}], se)
    cfg.work_dir = (
        work_dir
        or cfg.get('work_dir')
        or str(Path('work_dirs', Path(config).stem + ('_se' if se else '')))
    )
    find_data_folders(cfg._cfg_dict)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    return cfg


def configure(config: str, cfg_options: Sequence[Mapping[str, Any]], se: bool = False) -> Config:
    """Read a config and change it: what `load_config` does but for folders.

    Args:
        config: as in `train`.
        cfg_options: as in `train`, one after another.
        se: as in `train`.

    Raises:
        UsageError: as in `load_config`.
    """
    cfg = read_config(config)
    check_top_level(cfg, config)
    for options in cfg_options:
        set_options(cfg, options, config)
    return swap_backbone(cfg) if se else cfg


def _build_runner(cfg: Config, launcher: str, whole_checkpoint: bool) -> Runner:
    setup_cache_size_limit_of_dynamo()
    hooks = cfg.get('custom_hooks') or []
    if all(hook.get('type') != 'ReportHook' for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type='ReportHook')]
    cfg.launcher = launcher
    join_process_group(cfg, launcher)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else DetectorRunner.from_cfg(cfg)
    runner.register_hook(CheckpointFitHook(whole_checkpoint))
    runner.register_hook(ConsoleHook(cfg))
    runner.register_hook(UnreadableImagesHook(cfg.get('max_unreadable_images', 10)))
    return runner


def _existing_checkpoint(checkpoint: str) -> str:
    if '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise UsageError(f'No checkpoint file {checkpoint}. Check the path.')
    return checkpoint


def _resume_or_start(cfg: Config, resume: str | None) -> None:
    """Set the checkpoint to resume from; refuse to overwrite those of another training."""
    if not resume and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    if not resume or resume == 'auto':
        latest = latest_checkpoint(cfg.work_dir)
        if latest and not resume:
            raise UsageError(
                f'{cfg.work_dir} has a training that would be overwritten, up to {latest.name}. '
                'Add --resume to continue it, choose another --work-dir, or remove the folder.'
            )
        if resume and latest is None:
            MMLogger.get_current_instance().info(
                f'Nothing to resume in {cfg.work_dir}: training starts from the beginning.'
            )
        resume = latest and str(latest)
    cfg.resume = bool(resume)
    if resume:
        checkpoint = read_checkpoint(fetch(_existing_checkpoint(resume)), mmap=True)
        if not is_resumable(checkpoint):
            raise UsageError(
                f'{resume} has weights, but not the state of a training run. To start from the '
                f'weights, type instead of --resume: --cfg-options load_from={resume}'
            )
        cfg.load_from = resume
        # The order of the data follows from the seed.
        randomness = cfg.get('randomness') or {}
        if randomness.get('seed') is None:
            cfg.randomness = dict(randomness, seed=checkpoint['meta'].get('seed'))


def find_data_folders(values: ConfigDict | list | tuple) -> None:
    """Change ``data/<name>/...`` to the checkout's if the current folder has no such data."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, str) and value.startswith('data/'):
            data_root = Path(*Path(value).parts[:2])
            if not data_root.exists() and (CHECKOUT / 'pyproject.toml').exists():
                values[key] = os.path.join(os.path.relpath(CHECKOUT), value)
        elif isinstance(value, (dict, list)):
            find_data_folders(value)


def _augment_at_test_time(cfg: Config) -> None:
    """Add mmdet's test-time augmentation; flips, unless the config has its own."""
    dataset = cfg.test_dataloader.dataset
    if 'tta_model' not in cfg:
        tta_cfg = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
        cfg.tta_model = dict(type='DetTTAModel', tta_cfg=tta_cfg)
    if 'tta_pipeline' not in cfg:
        *steps, pack = deepcopy(dataset.pipeline)
        keys = (*pack.get('meta_keys', ()), 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
        packs = [dict(type='PackDetInputs', meta_keys=keys)]
        cfg.tta_pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, packs])]
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
