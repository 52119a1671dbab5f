"""Reads the gates of a trained detector on images."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import Runner
from torch import Tensor, nn

from se_det.backbones import SEBackbone
from se_det.engine.start.data import check_data
from se_det.errors import UsageError
from se_det.inference.trained_model import load_trained


@dataclass(frozen=True)
class BlockGates:
    """The gates of one SE block, an image a row.

    Attributes:
        name: ``SE_<stage>_<block>`` as in the paper: stages from 2, blocks from 1.
        stage: from 2 to 5.
        is_shown: the paper shows the last block of stages 2 to 4 and all of the last stage.
        gates: ``(I, C)``.
        parameters: of its SE module.
    """

    name: str
    stage: int
    is_shown: bool
    gates: np.ndarray
    parameters: int


@dataclass(frozen=True)
class Excitation:
    """The gates of all SE blocks over images, and the classes of the objects in these.

    Attributes:
        blocks: from the first to the last.
        classes: their names.
        holds: ``(I, K)`` bool, whether an image holds an object of a class.
        backbone_parameters: SE included.
    """

    blocks: list[BlockGates]
    classes: tuple[str, ...]
    holds: np.ndarray
    backbone_parameters: int

    @property
    def common_classes(self) -> list[int]:
        """Indices of the classes that images hold, the most common first."""
        images = self.holds.sum(0)
        return [index for index in np.argsort(-images, kind='stable').tolist() if images[index]]


def load_detector(cfg: Config, checkpoint: str) -> nn.Module:
    """Load a trained detector, on the GPU if there is one.

    Raises:
        UsageError: as `load_trained` raises it, or the backbone has no SE.
    """
    model, *_ = load_trained(checkpoint, cfg)
    if not hasattr(model, 'backbone') or not list(se_blocks(model.backbone)):
        kind = cfg.model.get('backbone', cfg.model).get('type')
        raise UsageError(
            f'There are no gates to plot: expected a backbone with SE, found {kind}. Give the '
            'config of an SE detector, such as configs/faster_rcnn_se_r50.py, or add --se.'
        )
    return model.to(get_device())


def se_blocks(backbone: nn.Module) -> Iterator[tuple[str, int, bool, nn.Module]]:
    """Name, stage, whether the paper shows it, and SE module, block by block."""
    if not isinstance(backbone, SEBackbone):
        return
    for stage, name in enumerate(backbone.se_stages, 2):
        attentions = backbone.attentions(name)
        for number, se in enumerate(attentions, 1):
            is_shown = number == len(attentions) or name == backbone.se_stages[-1]
            yield f'SE_{stage}_{number}', stage, is_shown, se


def collect_gates(cfg: Config, model: nn.Module, num_images: int) -> Excitation:
    """Read the gates for validation images, one image a batch.

    In larger batches the gate of an image would depend on the others, if little.

    Args:
        cfg: its ``val_dataloader`` is read.
        model: of `load_detector`.
        num_images: how many images at most, evenly spread over the data set.

    Raises:
        UsageError: the data is not there, or has no classes.
    """
    check_data(cfg, ('val',))
    loader = Runner.build_dataloader({**cfg.val_dataloader, 'batch_size': 1}, seed=0)
    dataset = loader.dataset
    classes = tuple(dataset.metainfo['classes'])
    chosen = np.unique(np.linspace(0, len(dataset) - 1, num_images).round().astype(int))
    holds = np.zeros((len(chosen), len(classes)), bool)
    blocks = list(se_blocks(model.backbone))
    rows = {name: [] for name, *_ in blocks}
    with ExitStack() as hooks, torch.no_grad():
        for name, *_, se in blocks:  # a hook on `se` makes the block call it
            hooks.enter_context(se.register_forward_hook(partial(_keep, rows[name])))
        for row, index in enumerate(chosen.tolist()):
            holds[row, dataset.get_cat_ids(index)] = True
            batch = loader.collate_fn([dataset[index]])
            model.backbone(model.data_preprocessor(batch, False)['inputs'])
    return Excitation(
        [
            BlockGates(
                name,
                stage,
                is_shown,
                np.stack(rows[name]),
                sum(parameter.numel() for parameter in se.parameters()),
            )
            for name, stage, is_shown, se in blocks
        ],
        classes,
        holds,
        sum(parameter.numel() for parameter in model.backbone.parameters()),
    )


def _keep(rows: list[np.ndarray], se: nn.Module, inputs: tuple, _: Tensor) -> None:
    rows.append(se.gate(*inputs).flatten().float().cpu().numpy())
