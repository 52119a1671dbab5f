"""Train one config of each algorithm and backbone and its SE twin for a step, and predict."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import BaseDataElement

from se_det.config_files import read_config
from se_det.engine.start.preprocessing import check_preprocessing
from se_det.swap import swap_backbone

from .building import OK, Outcome, algorithm, attempt, first_line, without_teachers_weights
from .samples import load_samples, test_batch, training_batch, with_all_labels
from .weights import with_stand_ins


@dataclass(frozen=True)
class Training:
    """The result of one config: per step, ``'ok'`` or the error.

    Attributes:
        config: its name.
        starts_plain: its model builds and is initialised from scratch.
        starts: its twin is initialised from stand-ins for its weights (see `with_stand_ins`).
        trains_plain: its model has a finite loss and finishes backward.
        trains: its twin does, and gradients reach the SE blocks.
        predicts_plain: its model's predictions are finite.
        predicts: its twin's are.
    """

    config: str
    starts_plain: str
    starts: str
    trains_plain: str
    trains: str
    predicts_plain: str
    predicts: str


def one_of_each(outcomes: list[Outcome]) -> list[str]:
    """One config of each algorithm and of each backbone: it builds and has a short name.

    Of an algorithm it has a ResNet-50, if there is one.
    """
    chosen: dict[str, Outcome] = {}
    for outcome in sorted(
        (outcome for outcome in outcomes if outcome.swaps == OK),
        key=lambda o: (o.builds_plain != OK, 'r50' not in o.config, len(o.config)),
    ):
        backbones = (outcome.backbones or '').split(', ')
        for key in filter(None, (algorithm(outcome.config), *backbones)):
            chosen.setdefault(key, outcome)
    return sorted({outcome.config for outcome in chosen.values()})


def check_training(config: str, coco: Path) -> Training:
    """Train and test the model of a config and that of its twin on two images.

    Args:
        config: its name.
        coco: folder of COCO, or of a part of it.

    Raises:
        UsageError: there are no images.
    """
    samples = load_samples(coco)
    plain = read_config(config)
    twin = swap_backbone(plain)
    with TemporaryDirectory() as folder:
        outcomes = (
            _run(lambda: plain, samples, has_se=False),
            _run(lambda: with_stand_ins(plain, twin, Path(folder)), samples, has_se=True),
        )
    return Training(config, *(step for pair in zip(*outcomes, strict=True) for step in pair))


def _run(
    prepare: Callable[[], Config], samples: list[dict[str, Any]], has_se: bool
) -> tuple[str, str, str]:
    """The results of the initialisation, of a training step and of a prediction."""
    try:
        cfg = prepare()
        model = _start(cfg)
    except Exception as error:  # a config's classes may raise anything
        return (first_line(error),) * 3
    kind = cfg.model.get('data_preprocessor', {}).get('type', '')
    samples = [with_all_labels(sample, cfg) for sample in samples]
    return (
        OK,
        attempt(lambda: _train(model, training_batch(deepcopy(samples), kind), has_se)),
        attempt(lambda: _predict(model, test_batch(deepcopy(samples), kind))),
    )


def _start(cfg: Config) -> torch.nn.Module:
    """Build and initialise the model as mmengine's Runner does."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    torch.manual_seed(0)
    np.random.seed(0)
    hub = MessageHub.get_current_instance()
    for counter in ('epoch', 'iter'):  # some heads read the Runner's progress
        hub.update_info(counter, 0)
    check_preprocessing(cfg)
    model = MODELS.build(_without_downloads(without_teachers_weights(cfg.model)))
    model = revert_sync_batchnorm(model)  # torch's SyncBatchNorm needs a GPU
    model.init_weights()
    for module in model.modules():
        if type(module).__name__ == 'TridentConv':  # MMDetection leaves it uninitialised
            torch.nn.init.kaiming_normal_(module.weight)
    for name, weight in model.named_parameters():
        if 'fc_reg' in name or 'conv_reg' in name:  # random boxes stay in the image, exp finite
            weight.data.mul_(0.01)
        elif weight.ndim == 1 and name.endswith('weight') and not weight.any():
            weight.data.fill_(0.1)  # zero_init_residual: no gradient reaches SE in the first step
    return model


def _without_downloads(model: dict) -> dict:
    """Remove ``Pretrained`` and ``pretrained`` from a model's config."""
    for key, value in model.items():
        if key == 'pretrained':
            model[key] = None
        if not isinstance(value, dict):
            continue
        if key == 'init_cfg' and value.get('type') == 'Pretrained':
            model[key] = None
        else:
            _without_downloads(value)
    return model


def _train(model: torch.nn.Module, batch: dict[str, Any], has_se: bool) -> None:
    model.train()
    loss, _ = model.parse_losses(model(**model.data_preprocessor(batch, True), mode='loss'))
    if not torch.isfinite(loss):
        raise ArithmeticError(f'the loss is {loss.item()}')
    loss.backward()
    gates = [weight.grad for name, weight in model.named_parameters() if '.se.fc' in name]
    if has_se and not any(gradient is not None and gradient.any() for gradient in gates):
        raise ArithmeticError('no gradient reaches the SE blocks')


@torch.no_grad()
def _predict(model: torch.nn.Module, batch: dict[str, Any]) -> None:
    model.eval()
    if not all(tensor.isfinite().all() for tensor in _tensors(model.test_step(batch))):
        raise ArithmeticError('a prediction is not finite')


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """All tensors in a model's predictions."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict | BaseDataElement):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _tensors(inner)
