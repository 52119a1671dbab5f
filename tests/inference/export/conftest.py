"""Small detectors of the families that are exported whole, with random weights."""

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from se_det.engine.launch import load_config

CONFIGS = ['faster_rcnn_se_r50', 'mask_rcnn_se_r50', 'cascade_rcnn_se_r50', 'retinanet_se_r50']
CLASSES = ('bolt', 'nut', 'washer')


def small_config(name: str):
    """A config of the project with one stage of depth 18, narrow heads and three classes."""
    cfg = load_config(f'configs/{name}.py')
    model = cfg.model
    model.backbone.update(
        depth=18,
        base_channels=16,
        num_stages=1,
        strides=(1,),
        dilations=(1,),
        out_indices=(0,),
        frozen_stages=-1,
        init_cfg=None,
    )
    model.neck.update(in_channels=[16], out_channels=16, num_outs=2)
    model.neck.pop('start_level', None)
    head = model.get('rpn_head') or model.bbox_head
    head.update(in_channels=16, feat_channels=16)
    head.anchor_generator.strides = [4, 8]
    if 'roi_head' not in model:
        head.update(num_classes=len(CLASSES), stacked_convs=1)
        model.test_cfg.update(nms_pre=60, max_per_img=20)
    else:
        model.test_cfg.rpn.update(nms_pre=60, max_per_img=30)
        model.test_cfg.rcnn.max_per_img = 10
        roi_head = model.roi_head
        bbox_heads = roi_head.bbox_head
        for part in bbox_heads if isinstance(bbox_heads, list) else [bbox_heads]:
            part.update(in_channels=16, fc_out_channels=32, num_classes=len(CLASSES))
        extractors = [roi_head.bbox_roi_extractor]
        if 'mask_head' in roi_head:
            roi_head.mask_head.update(
                in_channels=16, conv_out_channels=16, num_convs=1, num_classes=len(CLASSES)
            )
            extractors.append(roi_head.mask_roi_extractor)
        for part in extractors:
            part.update(out_channels=16, featmap_strides=[4, 8], finest_scale=16)
    dataset = cfg.test_dataloader.dataset
    dataset.metainfo = dict(classes=CLASSES)
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (160, 128)
    return cfg


def spread_scores(detector: nn.Module) -> None:
    """Random weights whose scores and boxes differ: those of mmdet's start are nearly all equal.

    Near ties would be ordered and suppressed by their rounding.
    """
    torch.manual_seed(0)
    detector.init_weights()
    with torch.no_grad():
        for name, layer in detector.named_modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.fill_(1)
                layer.running_var.fill_(0.5)
            elif name.startswith('neck.fpn_convs') and name.endswith('conv'):
                layer.weight.mul_(0.1)  # maps of about 1: sigmoids of large values are all 1
            elif name.endswith(('rpn_cls', 'retina_cls', 'fc_cls')):
                layer.weight.normal_(0, 1 / layer.weight[0].numel() ** 0.5).mul_(4)
                layer.bias.zero_()
            elif name.endswith(('rpn_reg', 'retina_reg', 'fc_reg', 'conv_logits')):
                layer.weight.normal_(0, 1 / layer.weight[0].numel() ** 0.5)


@pytest.fixture(scope='session', params=CONFIGS)
def cfg(request):
    """The config of a small detector of each family."""
    return small_config(request.param)


@pytest.fixture(scope='session')
def detector(cfg):
    """The detector of `cfg`, in evaluation mode."""
    model = MODELS.build(cfg.model)
    spread_scores(model)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope='session')
def predict():
    """What mmdet predicts for a padded batch, in pixels of the batch."""

    def run(detector, images, sizes) -> list[InstanceData]:
        samples = [
            DetDataSample(
                metainfo=dict(img_shape=tuple(size), ori_shape=tuple(size), scale_factor=(1.0, 1.0))
            )
            for size in sizes.tolist()
        ]
        with torch.no_grad():
            found = detector.predict(images.clone(), samples, rescale=True)
        return [sample.pred_instances for sample in found]

    return run


@pytest.fixture(scope='session')
def make_batch():
    """A batch of random images of different sizes, padded with zeros, and these sizes."""

    def make(*sizes):
        generator = torch.Generator().manual_seed(len(sizes))
        height, width = (32 * -(-max(edges) // 32) for edges in zip(*sizes, strict=True))
        images = torch.zeros(len(sizes), 3, height, width)
        for image, size in zip(images, sizes, strict=True):
            image[:, : size[0], : size[1]] = torch.randn(3, *size, generator=generator)
        return images, torch.tensor(sizes)

    return make
