#!/usr/bin/env python3
"""How far the other images of a batch move an image's feature maps and scores.

    tools/dev/measure_padding.py CONFIG [CHECKPOINT]

A batch is padded to its largest image. Convolutions see the padding at the border of an image; a
squeeze over the whole map feels it everywhere.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import Tensor, nn

from se_det.backbones import SEResNet
from se_det.checkpoints.safe_loading import safe_loading
from se_det.engine.launch import load_config
from se_det.engine.start.data import check_data
from se_det.errors import UsageError
from tools._command_line import (
    add_config_arguments,
    parse_config_arguments,
    usage_errors_alone,
)
from tools.dev.image_size import height_and_width

CONFIDENT = 0.3  # the least score of a detection that is compared
SAME_OBJECT = 0.5  # the least IoU of two detections of an object


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description="How far the other images of a batch move an image's feature maps and scores, "
        'with and without mask_padding'
    )
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument(
        'checkpoint', nargs='?', help='default: random weights, beside the plain backbone'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[2, 4])
    parser.add_argument(
        '--scale',
        type=height_and_width,
        nargs='+',
        default=[(400, 667)],
        metavar='SHORTxLONG',
        help='edges that images are resized to; images take several in turn',
    )
    parser.add_argument('--num-images', type=int, help='validation images at most')
    parser.add_argument(
        '--calibration',
        type=int,
        default=8,
        help='images for the batch norm statistics of random weights; 0: weights as built',
    )
    add_config_arguments(parser)
    args = parse_config_arguments(parser)
    with usage_errors_alone():
        cfg = load_config(args.config, cfg_options=args.cfg_options, se=args.se)
        found = measure_padding(
            cfg, args.checkpoint, args.batch, args.scale, args.num_images, args.calibration
        )
        print(as_table(found))


@dataclass
class Movement:
    """How far a batch moves what is computed for an image alone.

    Attributes:
        name: the backbone.
        batch: images in a batch.
        whole: of each map, the root mean square of the difference within the image, relative to
            that of the map itself.
        inner: the same over the pixels whose receptive field is within the image.
        score: the mean difference of a confident detection's score, which is 0 in the batch if
            nothing of its class overlaps it there. None without a checkpoint.
    """

    name: str
    batch: int
    whole: list[float]
    inner: list[float]
    score: float | None = None


def measure_padding(
    cfg: Config,
    checkpoint: str | None = None,
    batches: Sequence[int] = (2, 4),
    scales: Sequence[tuple[int, int]] = ((400, 667),),
    num_images: int | None = None,
    calibration: int = 8,
) -> list[Movement]:
    """Compare images alone and in mixed batches, with and without ``mask_padding``.

    Args:
        cfg: a detector; its ``val_dataloader`` is read.
        checkpoint: its weights. None: the backbone alone, with random weights, and its plain twin.
        batches: images in a batch.
        scales: short and long edge that images are resized to; images take them in turn.
        num_images: at most, evenly spread over the data set. None: all.
        calibration: number of images for `random_model`.

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
    items = _load(cfg, scales, num_images)
    if checkpoint:
        model = MODELS.build(cfg.model)
        with safe_loading():
            load_checkpoint(model, checkpoint, map_location='cpu')
    else:
        model = random_model(cfg.model, items[:calibration])
    model.eval()
    found = []
    for name in variants(model, with_plain=checkpoint is None):
        found += [move(name, model, items, batch, bool(checkpoint)) for batch in batches]
    return found


def move(
    name: str, model: nn.Module, items: Sequence[dict], batch: int, with_scores: bool = False
) -> Movement:
    """Compare images alone and in batches.

    Args:
        name: of the backbone.
        model: a detector, or a module with its ``data_preprocessor`` and ``backbone``.
        items: images as a data set returns them, ``inputs`` ``(3, h, w)`` and ``data_samples``.
        batch: images in a batch.
        with_scores: compare the detector's scores too.
    """
    fields = receptive_fields(model.backbone)
    squares = torch.zeros(2, len(fields), 2, dtype=torch.float64)  # of differences, of the maps
    scores = []
    for start in range(0, len(items), batch):
        group = items[start : start + batch]
        maps_together, detections_together = _run(model, group, with_scores)
        for index, item in enumerate(group):
            maps_alone, detections_alone = _run(model, [item], with_scores)
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
            if with_scores:
                scores += _score_differences(detections_alone[0], detections_together[index])
    whole, inner = (squares[..., 0] / squares[..., 1]).sqrt().tolist()
    return Movement(name, batch, whole, inner, np.mean(scores).item() if with_scores else None)


def random_model(cfg: dict, items: Sequence[dict]) -> nn.Module:
    """Build the data preprocessor and the backbone of a detector with random weights.

    Args:
        cfg: the detector's config.
        items: images, as in `move`, for the statistics of batch norms: maps and gates are then of
            the size that they have in training. Without images, weights are those that torch's
            layers start with, and the residual branches of little effect.
    """
    model = nn.Module()
    model.data_preprocessor = MODELS.build(cfg['data_preprocessor'])
    backbone = {**cfg['backbone'], 'init_cfg': None, 'zero_init_residual': False}
    model.backbone = MODELS.build({**backbone, 'norm_eval': False, 'frozen_stages': -1})
    if items:
        model.backbone.init_weights()
        for norm in model.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0
        _run(model, items)
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


def variants(model: nn.Module, with_plain: bool) -> Iterator[str]:
    """Change the backbone of a model in place, variant by variant, and name them.

    Args:
        model: as in `move`.
        with_plain: end with the plain twin, in which each gate is 1.
    """
    backbone = model.backbone
    if not hasattr(backbone, 'mask_padding'):
        yield 'plain'
        return
    for backbone.mask_padding in (True, False):
        yield f'mask_padding={backbone.mask_padding}'
    if with_plain:
        for block in backbone.modules():
            if hasattr(block, 'se'):
                block.se = nn.Identity()
        yield 'plain'


def as_table(found: Sequence[Movement]) -> str:
    """Format as Markdown."""
    lines = [
        '| backbone | batch | C2 to C5, whole image | inner pixels | scores |',
        '|---|---|---|---|---|',
    ]
    for row in found:
        whole, inner = (', '.join(f'{v:.1e}' for v in values) for values in (row.whole, row.inner))
        score = '' if row.score is None else f'{row.score:.1e}'
        lines.append(f'| {row.name} | {row.batch} | {whole} | {inner} | {score} |')
    return '\n'.join(lines)


def _load(cfg: Config, scales: Sequence[tuple[int, int]], num_images: int | None) -> list[dict]:
    """Images in a random order, resized by the test pipeline."""
    loaded = []
    for scale in scales:
        dataset = Config(dict(cfg.val_dataloader.dataset))
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = scale[::-1]
        loaded.append(DATASETS.build(dataset._cfg_dict))
    images = len(loaded[0])
    chosen = np.linspace(0, images - 1, min(images, num_images or images)).round().astype(int)
    order = np.random.default_rng(0).permutation(chosen).tolist()
    return [loaded[turn % len(scales)][index] for turn, index in enumerate(order)]


@torch.no_grad()
def _run(
    model: nn.Module, items: Sequence[dict], with_scores: bool = False
) -> tuple[tuple[Tensor, ...], list[InstanceData]]:
    """The maps of a batch, and its detections image by image."""
    data = model.data_preprocessor(pseudo_collate(items), False)
    maps = model.backbone(data['inputs'])
    if not with_scores:
        return maps, []
    results = model.predict(data['inputs'], data['data_samples'], rescale=False)
    return maps, [result.pred_instances for result in results]


def _score_differences(alone: InstanceData, together: InstanceData) -> list[float]:
    alone = alone[alone.scores >= CONFIDENT]
    if not len(together):
        return alone.scores.tolist()
    same = bbox_overlaps(alone.bboxes, together.bboxes) >= SAME_OBJECT
    same &= alone.labels[:, None] == together.labels
    scores = torch.where(same, together.scores, 0)
    nearest = (scores - alone.scores[:, None]).abs().argmin(1, keepdim=True)
    return (scores.gather(1, nearest)[:, 0] - alone.scores).abs().tolist()


if __name__ == '__main__':
    main()
