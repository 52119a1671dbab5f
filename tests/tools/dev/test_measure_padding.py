"""How far padding moves the maps of an image: SE without it, and a plain ResNet."""

import mmcv
import numpy as np
import pytest
import torch
from mmdet.models import ResNet
from mmdet.structures import DetDataSample

from se_det.backbones import SEResNet
from se_det.datasets.drawing import draw_scene
from se_det.engine.launch import load_config
from tools.dev.measure_padding import (
    as_table,
    measure_padding,
    move_all,
    random_model,
    receptive_fields,
)

ROUNDING = 2e-6


def _assert_moved_as_promised(found, batch, less=20):
    """At most 1.2 times as far as a plain ResNet's maps; inner pixels ``1 / less`` of unmasked."""
    masked, unmasked, plain = (
        next(row for row in found if (row.name, row.batch) == (name, batch))
        for name in ('mask_padding=True', 'mask_padding=False', 'plain')
    )
    assert max(plain.inner) < ROUNDING  # else the pixels that count as inner are not
    assert max(masked.whole) <= 1.2 * max(plain.whole)
    for level, value in enumerate(masked.inner):
        assert value <= max(ROUNDING, unmasked.inner[level] / less), as_table(found)
    assert min(unmasked.inner) > less * ROUNDING


@pytest.mark.parametrize(
    ('backbone', 'options', 'expected'),
    [  # strides; receptive fields of 35, 91, 267 and 427 pixels
        (SEResNet, dict(depth=50), [(4, 17), (8, 45), (16, 133), (32, 213)]),
        (ResNet, dict(depth=50, out_indices=(1,)), [(8, 45)]),
        (SEResNet, dict(depth=50, style='caffe', out_indices=(1,)), [(8, 49)]),
    ],
)
def test_receptive_fields(backbone, options, expected):
    with torch.device('meta'):
        assert receptive_fields(backbone(**options)) == expected


def test_a_pixel_beyond_the_receptive_field_has_no_effect():
    torch.manual_seed(0)
    model = ResNet(50, base_channels=8, out_indices=(1,), norm_eval=False)
    x = torch.randn(1, 3, 160, 160, requires_grad=True)
    model.eval()
    model(x)[0][0, :, 10, 10].square().sum().backward()
    rows = x.grad[0].abs().amax((0, 2)).nonzero()[:, 0].tolist()
    ((stride, radius),) = receptive_fields(model)
    assert (rows[0], rows[-1]) == (10 * stride - radius, 10 * stride + radius)


@pytest.fixture
def scenes():
    """Drawn images of several sizes."""
    rng = np.random.default_rng(0)
    items = []
    for height, width in [(300, 400), (400, 230), (250, 330), (340, 300)]:
        image = mmcv.imresize(draw_scene(rng)[0], (width, height))
        inputs = torch.from_numpy(image).permute(2, 0, 1)
        items.append(dict(inputs=inputs, data_samples=DetDataSample()))
    return items


def test_drawn_images(scenes, rgb):
    backbone = dict(
        type='SEResNet',
        depth=50,
        base_channels=16,
        se_cfg=dict(reduction=4),
        **dict(num_stages=2, strides=(1, 2), dilations=(1, 1), out_indices=(0, 1)),
    )
    images = dict(type='DetDataPreprocessor', pad_size_divisor=32, **rgb)
    torch.manual_seed(0)
    model = random_model(dict(data_preprocessor=images, backbone=backbone), scenes)
    found = move_all(model, scenes, (2, 4))
    for batch in (2, 4):
        _assert_moved_as_promised(found, batch)


@pytest.mark.long
def test_real_images(shared):
    root = f'{shared}/coco_mini/'
    options = {
        'val_dataloader.dataset.data_root': root,
        'val_evaluator.ann_file': f'{root}annotations/instances_val2017.json',
    }
    cfg = load_config('configs/faster_rcnn_se_r50.py', cfg_options=options)
    found = measure_padding(cfg, batches=(4,))
    _assert_moved_as_promised(found, 4, 10)  # measured: 16 in C5, 53 and more in the other maps
