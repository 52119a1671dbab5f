"""The public ImageNet weights of SE-ResNet and SE-ResNeXt.

Every file wants RGB images with the mean and standard deviation of `MEAN` and `STD`. The files that
timm calls legacy pool after the stem in ceil mode without padding (``stem_pool='ceil'``), and its
bottleneck SE-ResNets, the paper's authors' own models, have the stride on the first 1x1 convolution
(``style='caffe'``).
"""

from dataclasses import dataclass

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

OPENMMLAB = 'https://download.openmmlab.com/mmclassification/v0/se-resnet'
TIMM = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights'
TIMM_RSB = 'https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-rsb-weights'
GLUON = 'https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1'
CADENE = 'https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene'


@dataclass(frozen=True)
class PublicWeights:
    """One public file.

    Attributes:
        name: what ``init_cfg=dict(type='SEPretrained', checkpoint=...)`` calls it.
        url: where it is; the name ends in the first eight hex digits of its sha256.
        backbone: the arguments that `MODELS.build` needs for the backbone that fits.
        top1: ImageNet top-1 accuracy in percent at 224 x 224 pixels, as published.
        strong_recipe: trained with a modern recipe, which wants AdamW (learning rate 2e-4, weight
            decay 0.05) in fine-tuning, not SGD.
    """

    name: str
    url: str
    backbone: dict
    top1: float
    strong_recipe: bool = False

    @property
    def sha256_head(self) -> str:
        """The first eight hex digits of the file's sha256."""
        return self.url.removesuffix('.pth')[-8:]


def _resnet(depth: int, **kwargs: str) -> dict:
    return dict(type='SEResNet', depth=depth, **kwargs)


def _resnext(depth: int, groups: int = 32, **kwargs: str) -> dict:
    return dict(type='SEResNeXt', depth=depth, groups=groups, base_width=4, **kwargs)


_FILES = (
    PublicWeights(
        'mmpretrain/se_resnet50',
        f'{OPENMMLAB}/se-resnet50_batch256_imagenet_20200804-ae206104.pth',
        _resnet(50),
        77.74,
    ),
    PublicWeights(
        'mmpretrain/se_resnet101',
        f'{OPENMMLAB}/se-resnet101_batch256_imagenet_20200804-ba5b51d4.pth',
        _resnet(101),
        78.26,
    ),
    PublicWeights(
        'timm/seresnet50.ra2_in1k',
        f'{TIMM}/seresnet50_ra_224-8efdb4bb.pth',
        _resnet(50),
        80.26,
        strong_recipe=True,
    ),
    PublicWeights(
        'timm/seresnet50.a1_in1k',
        f'{TIMM_RSB}/seresnet50_a1_0-ffa00869.pth',
        _resnet(50),
        80.01,
        strong_recipe=True,
    ),
    PublicWeights(
        'timm/seresnext50_32x4d.gluon_in1k',
        f'{GLUON}/gluon_seresnext50_32x4d-90cf2d6e.pth',
        _resnext(50),
        79.92,
    ),
    PublicWeights(
        'timm/seresnext50_32x4d.racm_in1k',
        f'{TIMM}/seresnext50_32x4d_racm-a304a460.pth',
        _resnext(50),
        81.27,
        strong_recipe=True,
    ),
    PublicWeights(
        'timm/seresnext101_32x4d.gluon_in1k',
        f'{GLUON}/gluon_seresnext101_32x4d-cf52900d.pth',
        _resnext(101),
        80.89,
    ),
    PublicWeights(
        'timm/seresnext101_64x4d.gluon_in1k',
        f'{GLUON}/gluon_seresnext101_64x4d-f9926f93.pth',
        _resnext(101, groups=64),
        80.88,
    ),
    PublicWeights(
        'timm/legacy_seresnet50.in1k',
        f'{CADENE}/se_resnet50-ce0d4300.pth',
        _resnet(50, style='caffe', stem_pool='ceil'),
        77.65,
    ),
    PublicWeights(
        'timm/legacy_seresnet101.in1k',
        f'{CADENE}/se_resnet101-7e38fcc6.pth',
        _resnet(101, style='caffe', stem_pool='ceil'),
        78.37,
    ),
    PublicWeights(
        'timm/legacy_seresnet152.in1k',
        f'{CADENE}/se_resnet152-d17c99b7.pth',
        _resnet(152, style='caffe', stem_pool='ceil'),
        78.66,
    ),
    PublicWeights(
        'timm/legacy_seresnext50_32x4d.in1k',
        f'{TIMM}/legacy_se_resnext50_32x4d-f3651bad.pth',
        _resnext(50, stem_pool='ceil'),
        79.08,
    ),
    PublicWeights(
        'timm/legacy_seresnext101_32x4d.in1k',
        f'{TIMM}/legacy_se_resnext101_32x4d-37725eac.pth',
        _resnext(101, stem_pool='ceil'),
        80.27,
    ),
)

ZOO = {weights.name: weights for weights in _FILES}
