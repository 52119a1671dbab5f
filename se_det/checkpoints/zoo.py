"""The public ImageNet weights of backbones with SE, one row per file."""

from dataclasses import dataclass
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
        layout: name of its key layout, one of `se_det.checkpoints.layouts.LAYOUTS`.
        top1: ImageNet top-1 accuracy in percent, as published.
        depth: number of layers of the backbone; None for a RegNet. Its other arguments follow:
        groups: groups of a 3x3 convolution.
        base_width: channels of such a group in the first stage; 64 and one group make a ResNet.
        style: ``'caffe'`` for the stride on the first 1x1 convolution of a block, as in the code
            of the paper's authors.
        stem_pool: as in SEResNet.
        relu_before_se: as in SEResNet's ``se_cfg``.
        deep_stem: whether the stem has three 3x3 convolutions.
        avg_down: whether shortcuts pool instead of striding.
        attention: ``type`` in ``se_cfg``.
        arch: of an SERegNet.
        top1_size: height and width of the images that ``top1`` is of, in pixels.
        recipe: ``'plain'`` or ``'strong'``. After a strong recipe (long training, heavy
            augmentation), fine-tune with AdamW (learning rate 2e-4, weight decay 0.05), not SGD.
        licence: SPDX name, as published.
    """

    name: str
    url: str
    layout: str
    top1: float
    depth: int | None = None
    groups: int = 1
    base_width: int = 64
    style: str = 'pytorch'
    stem_pool: str = 'padded'
    relu_before_se: bool = False
    deep_stem: bool = False
    avg_down: bool = False
    attention: str = 'SE'
    arch: str | None = None
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
        module = 'regnet' if self.arch else 'senet' if self.layout == 'legacy' else 'resnet'
        return (
            f'https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/{module}.py'
        )

    @property
    def backbone(self) -> dict[str, Any]:
        """The config of the backbone that the weights fit."""
        if self.arch:
            return dict(type='SERegNet', arch=self.arch)
        cfg = dict(type='SEResNet', depth=self.depth, style=self.style, stem_pool=self.stem_pool)
        if self.depth == 154:
            return {**cfg, 'type': 'SENet'}
        if self.groups > 1:
            cfg.update(type='SEResNeXt', groups=self.groups, base_width=self.base_width)
        if self.deep_stem:
            cfg.update(deep_stem=True, avg_down=self.avg_down)
        if self.relu_before_se:
            cfg.update(se_cfg=dict(relu_before_se=True))
        if self.attention != 'SE':
            cfg.update(se_cfg=dict(type=self.attention))
        return cfg


X32 = dict(groups=32, base_width=4)
X64 = dict(groups=64, base_width=4)
LEGACY = dict(layout='legacy', stem_pool='ceil')
D = dict(layout='timm', deep_stem=True, avg_down=True)  # the D of ResNet-D, arXiv 1812.01187
REGNET = dict(layout='timm', recipe='strong', top1_size=288)

ZOO = {
    weights.name: weights
    for weights in (
        PublicWeights(
            'mmpretrain/se_resnet50',
            f'{OPENMMLAB}/se-resnet50_batch256_imagenet_20200804-ae206104.pth',
            layout='mmpretrain',
            top1=77.74,
            depth=50,
        ),
        PublicWeights(
            'mmpretrain/se_resnet101',
            f'{OPENMMLAB}/se-resnet101_batch256_imagenet_20200804-ba5b51d4.pth',
            layout='mmpretrain',
            top1=78.26,
            depth=101,
        ),
        PublicWeights(
            'timm/seresnet50.ra2_in1k',
            f'{TIMM}/seresnet50_ra_224-8efdb4bb.pth',
            layout='timm',
            top1=80.26,
            depth=50,
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnet50.a1_in1k',
            f'{TIMM_RSB}/seresnet50_a1_0-ffa00869.pth',
            layout='timm',
            top1=80.01,
            depth=50,
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext50_32x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext50_32x4d-90cf2d6e.pth',
            layout='timm',
            top1=79.92,
            depth=50,
            **X32,
        ),
        PublicWeights(
            'timm/seresnext50_32x4d.racm_in1k',
            f'{TIMM}/seresnext50_32x4d_racm-a304a460.pth',
            layout='timm',
            top1=81.27,
            depth=50,
            **X32,
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext101_32x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext101_32x4d-cf52900d.pth',
            layout='timm',
            top1=80.89,
            depth=101,
            **X32,
        ),
        PublicWeights(
            'timm/seresnext101_64x4d.gluon_in1k',
            f'{GLUON}/gluon_seresnext101_64x4d-f9926f93.pth',
            layout='timm',
            top1=80.88,
            depth=101,
            **X64,
        ),
        PublicWeights(
            'timm/legacy_seresnet18.in1k',
            f'{TIMM}/seresnet18-4bb0ce65.pth',
            top1=71.74,
            depth=18,
            relu_before_se=True,
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnet34.in1k',
            f'{TIMM}/seresnet34-a4004e63.pth',
            top1=74.79,
            depth=34,
            relu_before_se=True,
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnet50.in1k',
            f'{CADENE}/se_resnet50-ce0d4300.pth',
            top1=77.65,
            depth=50,
            style='caffe',
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnet101.in1k',
            f'{CADENE}/se_resnet101-7e38fcc6.pth',
            top1=78.37,
            depth=101,
            style='caffe',
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnet152.in1k',
            f'{CADENE}/se_resnet152-d17c99b7.pth',
            top1=78.66,
            depth=152,
            style='caffe',
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnext50_32x4d.in1k',
            f'{TIMM}/legacy_se_resnext50_32x4d-f3651bad.pth',
            top1=79.08,
            depth=50,
            **X32,
            **LEGACY,
        ),
        PublicWeights(
            'timm/legacy_seresnext101_32x4d.in1k',
            f'{TIMM}/legacy_se_resnext101_32x4d-37725eac.pth',
            top1=80.27,
            depth=101,
            **X32,
            **LEGACY,
        ),
        PublicWeights(
            'timm/seresnet152d.ra2_in1k',
            f'{TIMM}/seresnet152d_ra2-04464dd2.pth',
            top1=84.36,
            top1_size=320,
            depth=152,
            **D,
            recipe='strong',
        ),
        PublicWeights(
            'timm/seresnext26d_32x4d.bt_in1k',
            f'{TIMM}/seresnext26d_32x4d-80fa48a3.pth',
            top1=78.81,
            top1_size=288,
            depth=26,
            **X32,
            **D,
        ),
        PublicWeights(
            'timm/ecaresnet101d.miil_in1k',
            'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-tresnet/'
            'ecaresnet101d-153dad65.pth',
            top1=82.98,
            top1_size=288,
            depth=101,
            **{**D, 'layout': 'eca'},
            attention='ECA',
            recipe='strong',
        ),
        PublicWeights(
            'timm/legacy_senet154.in1k',
            f'{TIMM}/legacy_senet154-e9eb9fe6.pth',
            top1=81.31,
            depth=154,
            **LEGACY,
        ),
        PublicWeights(
            'timm/regnety_032.ra_in1k',
            'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/'
            'regnety_032_ra-7f2439f9.pth',
            top1=82.73,
            arch='regnety_3.2gf',
            **REGNET,
        ),
        PublicWeights(
            'timm/regnety_040.ra3_in1k',
            f'{TIMM_TPU}/regnety_040_ra3-670e1166.pth',
            top1=83.04,
            arch='regnety_4.0gf',
            **REGNET,
        ),
        PublicWeights(
            'timm/regnety_064.ra3_in1k',
            f'{TIMM_TPU}/regnety_064_ra3-aa26dc7d.pth',
            top1=83.72,
            arch='regnety_6.4gf',
            **REGNET,
        ),
        PublicWeights(
            'timm/regnety_080.ra3_in1k',
            f'{TIMM_TPU}/regnety_080_ra3-1fdc4344.pth',
            top1=83.93,
            arch='regnety_8.0gf',
            **REGNET,
        ),
        PublicWeights(
            'timm/regnety_160.deit_in1k',
            'https://dl.fbaipublicfiles.com/deit/regnety_160-a5fe301d.pth',
            top1=83.69,
            arch='regnety_16gf',
            **REGNET,
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
