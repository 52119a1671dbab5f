"""Which weights a backbone starts from when SE is added to it, and why."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmcv.cnn.bricks.norm import infer_abbr
from mmdet.registry import MODELS

from se_det.checkpoints.grafting import check_graftable
from se_det.checkpoints.zoo import ZOO, PublicWeights, public_weights
from se_det.errors import UsageError
from se_det.layers import DEFAULT_REDUCTION

# What names ImageNet's weights; other URLs, and files, may be of any data.
IMAGENET = re.compile(
    r'(torchvision|modelzoo|open-mmlab|openmmlab|mmcls)://'
    r'|https?://download\.(pytorch\.org/models|openmmlab\.com/mmclassification)/'
)
# Plain weights of strong recipes: those of arXiv 2110.00476, and torchvision's second ResNet-50.
STRONG = re.compile('-rsb-|resnet50-11ad3fa6')


@dataclass(frozen=True)
class Choice:
    """Weights to start from.

    Attributes:
        reason: why these, for the log.
        checkpoint: what `SEPretrained` takes; None to leave the initialisation as it is.
        graft: the weights are plain, to graft SE to.
        public: the row in the zoo that the backbone has to follow, if they have one.
    """

    reason: str
    checkpoint: str | None = None
    graft: bool = False
    public: PublicWeights | None = None


def choose_weights(
    backbone: Mapping[str, Any],
    named: str | None,
    bound_to: str | None = None,
    checkpoint: str | None = None,
    graft: bool = False,
) -> Choice:
    """Choose the weights of an SE backbone whose config was made from a plain one's.

    What is asked for comes first. Else weights take the place of weights only: a backbone trained
    from scratch stays so. Public SE weights come before grafting, where they fit, the plain ones
    are ImageNet's, and nothing else in the model depends on these.

    Args:
        backbone: the config of an SEResNet or SEResNeXt.
        named: the plain weights that the config names.
        bound_to: why the backbone has to start from those, as the end of a sentence.
        checkpoint: the weights asked for.
        graft: whether grafting is asked for.

    Raises:
        UsageError: what is asked for does not fit the backbone, or nothing does.
    """
    if named in ZOO and not graft:
        checkpoint = checkpoint or named
    if checkpoint and not graft:
        public = public_weights(checkpoint)
        if public and (problem := misfit(backbone, public)):
            fitting = [w.name for w in ZOO.values() if not misfit(backbone, w)]
            raise UsageError(
                f'{public.name} {problem}. Choose '
                + (', '.join([*fitting, '']) if fitting else '')
                + 'a file that fits, or graft SE to plain weights (graft=True, --graft).'
            )
        return Choice(f'starts from {checkpoint}, as asked for', checkpoint, public=public)
    if checkpoint or graft:
        if not (checkpoint or named):
            raise UsageError(
                'The config names no pretrained weights to graft SE to. Give plain weights too, '
                "such as checkpoint='torchvision://resnet50'."
            )
        check_graftable(backbone)
        checkpoint = checkpoint or named
        return Choice(f'SE grafted to {checkpoint}, as asked for', checkpoint, graft=True)
    if named is None:
        return Choice('no pretrained weights, as before')
    public = bound_to or _best_public_weights(backbone, named)
    if isinstance(public, PublicWeights):
        return Choice(f'starts from {public.name} instead of {named}', public.name, public=public)
    try:
        check_graftable(backbone)
    except UsageError as error:
        raise UsageError(
            f'No pretrained weights for this backbone: {public}. {error} Or name weights of yours: '
            'checkpoint=..., --checkpoint ...'
        ) from error
    return Choice(f'SE grafted to {named}: {public}', named, graft=True)


def misfit(backbone: Mapping[str, Any], weights: PublicWeights) -> str | None:
    """Tell why public weights do not fit a backbone, its style and its stem's pool aside.

    Returns:
        The end of a sentence that begins with the name of the weights; None if they fit.
    """
    if _size(weights.backbone) != _size(backbone):
        return f'is of {size_name(weights.backbone)}, not of {size_name(backbone)}'
    for argument in ('deep_stem', 'avg_down'):
        if backbone.get(argument):
            return f'has no {argument}'
    for argument, value in (('in_channels', 3), ('base_channels', 64), ('stem_channels', 64)):
        found = backbone.get(argument) or value
        if found != value:
            return f'has {argument}={value}, not {found}'
    norm = _type(backbone.get('norm_cfg'), 'BN')
    layer = norm if inspect.isclass(norm) else MODELS.get(norm)
    if layer is None or infer_abbr(layer) != 'bn':
        return f'has batch norm, not {norm}'
    convolution = _type(backbone.get('conv_cfg'), 'Conv2d')
    if convolution not in ('Conv', 'Conv2d'):
        return f'has plain convolutions, not {convolution}'
    se_cfg = backbone.get('se_cfg') or {}
    reduction = se_cfg.get('reduction', DEFAULT_REDUCTION)
    reductions = reduction if isinstance(reduction, list | tuple) else [reduction]
    if set(reductions) != {DEFAULT_REDUCTION}:
        return f'has reduction={DEFAULT_REDUCTION}, not {reduction}'
    if not all(se_cfg.get('stages', ())):
        return f'has SE in all stages, not stages={se_cfg["stages"]}'
    if se_cfg.get('relu_before_se', weights.relu_before_se) != weights.relu_before_se:
        return f'has relu_before_se={weights.relu_before_se}'
    return None


def size_name(backbone: Mapping[str, Any]) -> str:
    """What papers call a backbone of this size: ``SE-ResNet-50``, ``SE-ResNeXt-101 32x4d``."""
    depth, groups, base_width = _size(backbone)
    return f'SE-ResNet-{depth}' if groups == 1 else f'SE-ResNeXt-{depth} {groups}x{base_width}d'


def _best_public_weights(backbone: Mapping[str, Any], named: str) -> PublicWeights | str:
    """Those like the named ones that want the usual stem and style, or why none.

    A strong recipe takes the place of a strong one only, whose config has the optimizer for it.
    """
    if not IMAGENET.match(named):
        return 'these need not be of a classifier on ImageNet, as public SE weights are'
    is_strong = bool(STRONG.search(named))
    candidates = sorted(
        (
            weights
            for weights in ZOO.values()
            if _size(weights.backbone) == _size(backbone)
            and (is_strong or weights.recipe == 'plain')
        ),
        key=lambda weights: (
            is_strong != (weights.recipe == 'strong'),
            ('-rsb-' in named) != ('-rsb-' in weights.url),
            weights.stem_pool == 'ceil',
            weights.style == 'caffe',
        ),
    )
    if not candidates:
        return f'there are no public weights of {size_name(backbone)}'
    fitting = [weights for weights in candidates if not misfit(backbone, weights)]
    return fitting[0] if fitting else f'{candidates[0].name} {misfit(backbone, candidates[0])}'


def _size(backbone: Mapping[str, Any]) -> tuple[int | None, int, int]:
    """Depth, groups, base width; where there is one group, mmdet heeds no base width."""
    groups = backbone.get('groups', 1)
    return backbone.get('depth'), groups, backbone.get('base_width', 4) if groups > 1 else 64


def _type(cfg: Mapping[str, Any] | None, default: str) -> Any:
    return (cfg or {}).get('type', default)
