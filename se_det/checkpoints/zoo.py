"""The public ImageNet weights of backbones with SE, one row per file."""

from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

OPENMMLAB = 'https://download.openmmlab.com/mmclassification/v0/se-resnet'
TIMM = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights'
TIMM_TPU = 'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-tpu-weights'
TIMM_RSB = 'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights'
GLUON = 'https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1'
CADENE = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene'


@dataclass(frozen=True)
class PublicWeights:
    """One public file.

    Attributes:
        name: name for ``init_cfg=dict(type='SEPretrained', checkpoint=...)``: the publisher, and
            the publisher's name for it.
        url: its URL; the file name ends in the first eight hex digits of its sha256.
        top1: ImageNet top-1 accuracy in percent, as published.
        backbone: the config of the backbone that the weights fit.
        layout: name of its key layout, one of `se_det.checkpoints.layouts.LAYOUTS`.
        top1_size: height and width of the images that ``top1`` is of, in pixels.
        recipe: ``'plain'`` or ``'strong'``. After a strong recipe (long training, heavy
            augmentation), fine-tune with AdamW (learning rate 2e-4, weight decay 0.05), not SGD.
        licence: SPDX name, as published.
    """

    name: str
    url: str
    top1: float
    backbone: dict[str, Any] = field(hash=False)
    layout: str = 'timm'
    top1_size: int = 224
    recipe: str = 'plain'
    licence: str = 'Apache-2.0'

    # The same for all of them. mmdet's LoadImageFromFile returns BGR.
    data_preprocessor: ClassVar[dict[str, Any]] = dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    )

    @property
    def source(self) -> str:
        """The publisher's page or code."""
        if self.name.startswith('mmpretrain/'):
            return 'https://github.com/open-mmlab/mmpretrain/tree/main/configs/seresnet'
        of_regnet = self.backbone['type'] == 'SERegNet'
        module = 'regnet' if of_regnet else 'senet' if self.layout == 'legacy' else 'resnet'
        return (
            f'https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/{module}.py'
        )


def _resnet(depth: int, **others: Any) -> dict[str, Any]:
    usual = dict(type='SEResNet', depth=depth, style='pytorch', stem_pool='padded')
    return {**usual, **others}


def _resnext(depth: int, groups: int, **others: Any) -> dict[str, Any]:
    return _resnet(depth, type='SEResNeXt', groups=groups, base_width=4, **others)


def _regnety(size: str) -> dict[str, Any]:
    return dict(type='SERegNet', arch=f'regnety_{size}')


RELU = dict(se_cfg=dict(relu_before_se=True))
D = dict(deep_stem=True, avg_down=True)  # the D of ResNet-D, arXiv 1812.01187

ZOO = {
    weights.name: weights
    for weights in (
        PublicWeights(
            'mmpretrain/se_resnet50',
            f'{OPENMMLAB}/se-resnet50_batch256_imagenet_20200804-ae206104.pth',
            layout='mmpretrain',
            top1=77.74,
            backbone=_resnet(50),
        ),
        PublicWeights(
            'mmpretrain/se_resnet101',
            f'{OPENMMLAB}/se-resnet101_batch256_imagenet_20200804-ba5b51d4.pth',
            layout='mmpretrain',
            top1=78.26,
            backbone=_resnet(101),
        ),
        PublicWeights(
            'timm/seresnet50.ra2_in1k',
            f'{TIMM}/seresnet50_ra_224-8efdb4bb.pth',
            top1=80.26,
            backbone=_resnet(50),
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnet50.a1_in1k',
            f'{TIMM_RSB}/seresnet50_a1_0-ffa00869.pth',
            top1=80.01,
            backbone=_resnet(50),
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext50_32x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext50_32x4d-90cf2d6e.pth',
            top1=79.92,
            backbone=_resnext(50, 32),
        ),
        PublicWeights(
            'timm/seresnext50_32x4d.racm_in1k',
            f'{TIMM}/seresnext50_32x4d_racm-a304a460.pth',
            top1=81.27,
            backbone=_resnext(50, 32),
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext101_32x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext101_32x4d-cf52900d.pth',
            top1=80.89,
            backbone=_resnext(101, 32),
        ),
        PublicWeights(
            'timm/seresnext101_64x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext101_64x4d-f9926f93.pth',
            top1=80.88,
            backbone=_resnext(101, 64),
        ),
        PublicWeights(
            'timm/legacy_seresnet18.in1k',
            f'{TIMM}/seresnet18-4bb0ce65.pth',
            layout='legacy',
            top1=71.74,
            backbone=_resnet(18, stem_pool='ceil', **RELU),
        ),
        PublicWeights(
            'timm/legacy_seresnet34.in1k',
            f'{TIMM}/seresnet34-a4004e63.pth',
            layout='legacy',
            top1=74.79,
            backbone=_resnet(34, stem_pool='ceil', **RELU),
        ),
        PublicWeights(
            'timm/legacy_seresnet50.in1k',
            f'{CADENE}/se_resnet50-ce0d4300.pth',
            layout='legacy',
            top1=77.65,
            backbone=_resnet(50, style='caffe', stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/legacy_seresnet101.in1k',
            f'{CADENE}/se_resnet101-7e38fcc6.pth',
            layout='legacy',
            top1=78.37,
            backbone=_resnet(101, style='caffe', stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/legacy_seresnet152.in1k',
            f'{CADENE}/se_resnet152-d17c99b7.pth',
            layout='legacy',
            top1=78.66,
            backbone=_resnet(152, style='caffe', stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/legacy_seresnext50_32x4d.in1k',
            f'{TIMM}/legacy_se_resnext50_32x4d-f3651bad.pth',
            layout='legacy',
            top1=79.08,
            backbone=_resnext(50, 32, stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/legacy_seresnext101_32x4d.in1k',
            f'{TIMM}/legacy_se_resnext101_32x4d-37725eac.pth',
            layout='legacy',
            top1=80.27,
            backbone=_resnext(101, 32, stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/seresnet152d.ra2_in1k',
            f'{TIMM}/seresnet152d_ra2-04464dd2.pth',
            top1=84.36,
            backbone=_resnet(152, **D),
            top1_size=320,
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext26d_32x4d.bt_in1k',
            f'{TIMM}/seresnext26d_32x4d-80fa48a3.pth',
            top1=78.81,
            backbone=_resnext(26, 32, **D),
            top1_size=288,
        ),
        PublicWeights(
            'timm/ecaresnet101d.miil_in1k',
            'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-tresnet/'
            'ecaresnet101d-153dad65.pth',
            layout='eca',
            top1=82.98,
            backbone=_resnet(101, **D, se_cfg=dict(type='ECA')),
            top1_size=288,
            recipe='strong',
        ),
        PublicWeights(
            'timm/legacy_senet154.in1k',
            f'{TIMM}/legacy_senet154-e9eb9fe6.pth',
            layout='legacy',
            top1=81.31,
            backbone=_resnet(154, type='SENet', stem_pool='ceil'),
        ),
        PublicWeights(
            'timm/regnety_032.ra_in1k',
            'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/'
            'regnety_032_ra-7f2439f9.pth',
            top1=82.73,
            backbone=_regnety('3.2gf'),
            top1_size=288,
            recipe='strong',
        ),
        PublicWeights(
            'timm/regnety_040.ra3_in1k',
            f'{TIMM_TPU}/regnety_040_ra3-670e1166.pth',
            top1=83.04,
            backbone=_regnety('4.0gf'),
            top1_size=288,
            recipe='strong',
        ),
        PublicWeights(
            'timm/regnety_064.ra3_in1k',
            f'{TIMM_TPU}/regnety_064_ra3-aa26dc7d.pth',
            top1=83.72,
            backbone=_regnety('6.4gf'),
            top1_size=288,
            recipe='strong',
        ),
        PublicWeights(
            'timm/regnety_080.ra3_in1k',
            f'{TIMM_TPU}/regnety_080_ra3-1fdc4344.pth',
            top1=83.93,
            backbone=_regnety('8.0gf'),
            top1_size=288,
            recipe='strong',
        ),
        PublicWeights(
            'timm/regnety_160.deit_in1k',
            'https://dl.fbaipublicfiles.com/deit/regnety_160-a5fe301d.pth',
            top1=83.69,
            backbone=_regnety('16gf'),
            top1_size=288,
            recipe='strong',
        ),
    )
}


def public_weights(checkpoint: str) -> PublicWeights | None:
    """Find the row of a public file.

    Args:
        checkpoint: its name in `ZOO`, its URL, a URL in a repository of that name, or a file with
            the published file's name.

    Returns:
        The row; None for a file that is not in `ZOO`.
    """
    file_name = unquote(urlsplit(checkpoint).path).rpartition('/')[2]
    for weights in ZOO.values():
        if (
            checkpoint == weights.name
            or file_name == weights.url.rpartition('/')[2]
            or ('://' in checkpoint and f'/{weights.name}/' in checkpoint)
        ):
            return weights
    return None
