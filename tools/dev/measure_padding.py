#!/usr/bin/env python3
"""How far the other images of a batch move an image's maps: tools/dev/measure_padding.py CONFIG.

A batch is padded to its largest image. Convolutions see the padding at the border of an image; a
squeeze over the whole map feels it everywhere.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from se_det.backbones import SEResNet
from se_det.engine.launch import load_config
from se_det.engine.start.data import check_data
from se_det.errors import UsageError
from tools._command_line import parse_config_arguments, usage_errors_alone
from tools.dev.image_size import height_and_width

CALIBRATION = 8  # images for the statistics of batch norms


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description="How far the other images of a batch move an image's feature maps: with and "
        'without mask_padding, and in the plain backbone, all with random weights'
    )
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('--batch', type=int, nargs='+', default=[2, 4])
    parser.add_argument(
        '--scale',
        type=height_and_width,
        nargs='+',
        default=[(400, 667)],
        metavar='SHORTxLONG',
        help='edges that images are resized to; images take several in turn',
    )
    args = parse_config_arguments(parser)
    with usage_errors_alone():
        cfg = load_config(args.config, cfg_options=args.cfg_options, se=args.se)
        print(as_table(measure_padding(cfg, args.batch, args.scale)))


@dataclass
class Movement:
    """How far a batch moves what is computed for an image alone.

    Attributes:
        name: the backbone.
        batch: images in a batch.
        whole: of each map, the root mean square of the difference within the image, relative to
            that of the map itself.
        inner: the same over the pixels whose receptive field is within the image.
    """

    name: str
    batch: int
    whole: list[float]
    inner: list[float]


def measure_padding(
    cfg: Config,
    batches: Sequence[int] = (2, 4),
    scales: Sequence[tuple[int, int]] = ((400, 667),),
) -> list[Movement]:
    """Compare images alone and in mixed batches, with and without ``mask_padding``, and without SE.

    Args:
        cfg: of a detector, of which the backbone is built; its ``val_dataloader`` is read.
        batches: images in a batch.
        scales: short and long edge that images are resized to; images take them in turn.

    Raises:
        UsageError: the data is not there, or the backbone is not one of those.
    """
    init_default_scope('mmdet')
    kind = MODELS.get(cfg.model.backbone.type)
    if kind is None or not issubclass(kind, SEResNet):
        raise UsageError(
            f'Expected a detector with an SEResNet or SEResNeXt, found {cfg.model.backbone.type}. '
            'Give such a config, such as configs/faster_rcnn_se_r50.py.'
        )
    check_data(cfg, ('val',))
    torch.manual_seed(0)
    items = _load(cfg, scales)
    return move_all(random_model(cfg.model, items[:CALIBRATION]), items, batches)


def move_all(model: nn.Module, items: Sequence[dict], batches: Sequence[int]) -> list[Movement]:
    """Compare with and without ``mask_padding``, then with the SE of each block taken away."""
    model.eval()
    found = []
    for name in ('mask_padding=True', 'mask_padding=False', 'plain'):
        model.backbone.mask_padding = name == 'mask_padding=True'
        for block in model.backbone.modules() if name == 'plain' else ():
            if hasattr(block, 'se'):
                block.se = nn.Identity()
        found += [move(name, model, items, batch) for batch in batches]
    return found


def move(name: str, model: nn.Module, items: Sequence[dict], batch: int) -> Movement:
    """Compare images alone and in batches.

    Args:
        name: of the backbone.
        model: a module with a ``data_preprocessor`` and a ``backbone``.
        items: images as a data set returns them, ``inputs`` ``(3, h, w)`` and ``data_samples``.
        batch: images in a batch.
    """
    fields = receptive_fields(model.backbone)
    squares = torch.zeros(2, len(fields), 2, dtype=torch.float64)  # of differences, of the maps
    for start in range(0, len(items), batch):
        group = items[start : start + batch]
        maps_together = _maps(model, group)
        for index, item in enumerate(group):
            maps_alone = _maps(model, [item])
            for level, (stride, radius) in enumerate(fields):
                alone, together = maps_alone[level][0], maps_together[level][index]
                for region, margin in enumerate((0, radius)):
                    height, width = (
                        max(0, edge - 1 - margin + stride) // stride
                        for edge in item['inputs'].shape[1:]
                    )
                    pixels = alone[:, :height, :width].double()
                    difference = together[:, :height, :width] - pixels
                    squares[region, level, 0] += difference.square().sum()
                    squares[region, level, 1] += pixels.square().sum()
    whole, inner = (squares[..., 0] / squares[..., 1]).sqrt().tolist()
    return Movement(name, batch, whole, inner)


def random_model(cfg: dict, items: Sequence[dict]) -> nn.Module:
    """Build the data preprocessor and the backbone of a detector with random weights.

    Args:
        cfg: the detector's config.
        items: images, as in `move`, for the statistics of batch norms: maps and gates are then of
            the size that they have in training.
    """
    model = nn.Module()
    model.data_preprocessor = MODELS.build(cfg['data_preprocessor'])
    backbone = {**cfg['backbone'], 'init_cfg': None, 'zero_init_residual': False}
    model.backbone = MODELS.build({**backbone, 'norm_eval': False, 'frozen_stages': -1})
    model.backbone.init_weights()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    _maps(model, items)
    return model


def receptive_fields(backbone: nn.Module) -> list[tuple[int, int]]:
    """The strides of the returned maps, and how far their pixels see to each side, in pixels.

    Args:
        backbone: a ResNet or ResNeXt; squeezes, which see everything, are not counted.
    """
    stride, radius, by_stage = 1, 0, {}
    for name, layer in backbone.named_modules():
        path = name.split('.')
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d) and not {'downsample', 'se'} & {*path}:
            kernel, dilation, layer_stride = (
                value[0] if isinstance(value, tuple) else value
                for value in (layer.kernel_size, layer.dilation, layer.stride)
            )
            radius += kernel // 2 * dilation * stride
            stride *= layer_stride
        by_stage[path[0]] = stride, radius
    return [by_stage[backbone.res_layers[index]] for index in backbone.out_indices]


def as_table(found: Sequence[Movement]) -> str:
    """Format as Markdown."""
    lines = [
        '| backbone | batch | C2 to C5, whole image | inner pixels |',
        '|---|---|---|---|',
    ]
    for row in found:
        whole, inner = (', '.join(f'{v:.1e}' for v in values) for values in (row.whole, row.inner))
        lines.append(f'| {row.name} | {row.batch} | {whole} | {inner} |')
    return '\n'.join(lines)


def _load(cfg: Config, scales: Sequence[tuple[int, int]]) -> list[dict]:
    """Images in a random order, resized by the test pipeline."""
    loaded = []
    for scale in scales:
        dataset = Config(dict(cfg.val_dataloader.dataset))
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = scale[::-1]
        loaded.append(DATASETS.build(dataset._cfg_dict))
    order = np.random.default_rng(0).permutation(len(loaded[0])).tolist()
    return [loaded[turn % len(scales)][index] for turn, index in enumerate(order)]


@torch.no_grad()
def _maps(model: nn.Module, items: Sequence[dict]) -> tuple[Tensor, ...]:
    return model.backbone(model.data_preprocessor(pseudo_collate(items), False)['inputs'])


if __name__ == '__main__':
    main()
