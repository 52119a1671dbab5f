"""Choose the weights that a backbone starts from when SE is added to it."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmcv.cnn.bricks.norm import infer_abbr
from mmdet.registry import MODELS

from se_det.checkpoints.architecture import SE_OPTIONS
from se_det.checkpoints.grafting import check_graftable
from se_det.checkpoints.zoo import ZOO, PublicWeights, public_weights
from se_det.errors import UsageError
from se_det.layers import DEFAULT_REDUCTION

# Names and URLs of ImageNet weights. Other URLs and files may be of any data.
IMAGENET = re.compile(
    r'(torchvision|modelzoo|open-mmlab|openmmlab|mmcls)://'
    r'|https?://download\.(pytorch\.org/models|openmmlab\.com/mmclassification)/'
)
# Plain weights of strong recipes: ResNet strikes back (arXiv 2110.00476), torchvision's V2.
STRONG = re.compile('-rsb-|resnet50-11ad3fa6')
# Arguments of the backbone and of its se_cfg that weights are of, and their defaults.
SHAPE = dict(deep_stem=False, avg_down=False, in_channels=3, base_channels=64, stem_channels=64)
OPTIONS = {**SE_OPTIONS, 'type': 'SE'}


@dataclass(frozen=True)
class Choice:
    """Weights to start from.

    Attributes:
        reason: which weights and why, for the log.
        checkpoint: argument of `SEPretrained`; None to leave the initialisation as it is.
        graft: the weights are plain: graft SE to them.
        public: the row of public weights in the zoo; None for others.
    """

    reason: str
    checkpoint: str | None = None
    graft: bool = False
    public: PublicWeights | None = None


def choose_weights(
    backbone: Mapping[str, Any],
    named: str | None,
    must_keep: str | None = None,
    checkpoint: str | None = None,
    graft: bool = False,
) -> Choice:
    """Choose the weights of an SE backbone whose config was made from a plain one's.

    ``checkpoint`` and ``graft`` come first. Without them, a backbone that was trained from scratch
    still is. One that started from ImageNet weights starts from public SE weights, if some fit it
    and nothing else in the model depends on the plain ones. In all other cases, SE is grafted to
    the weights that the config names.

    Args:
        backbone: the config of an SE backbone.
        named: the plain weights that the config names.
        must_keep: the reason why the backbone must start from ``named``, as the end of a sentence;
            None if it need not.
        checkpoint: weights that the caller chose.
        graft: graft SE to ``checkpoint``, or to ``named``.

    Raises:
        UsageError: ``checkpoint`` or ``graft`` does not fit the backbone, or no weights do.
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
        return Choice(f'starts from {checkpoint}, as given', checkpoint, public=public)
    if checkpoint or graft:
        if not (checkpoint or named):
            raise UsageError(
                'The config names no pretrained weights to graft SE to. Name plain ones, such as '
                "checkpoint='torchvision://resnet50'."
            )
        check_graftable(backbone)
        checkpoint = checkpoint or named
        return Choice(f'SE grafted to {checkpoint}, as given', checkpoint, graft=True)
    if named is None:
        return Choice('no pretrained weights, as before')
    public = must_keep or _best_public_weights(backbone, named)
    if isinstance(public, PublicWeights):
        return Choice(f'starts from {public.name} instead of {named}', public.name, public=public)
    try:
        check_graftable(backbone)
    except UsageError as error:
        raise UsageError(
            f'No pretrained weights fit this backbone: {public}. {error} Or name your own weights: '
            'checkpoint=..., --checkpoint ...'
        ) from error
    return Choice(f'SE grafted to {named}: {public}', named, graft=True)


def misfit(backbone: Mapping[str, Any], weights: PublicWeights) -> str | None:
    """Find out why public weights do not fit a backbone; ``style`` and ``stem_pool`` are ignored.

    Returns:
        The end of a sentence that begins with the name of the weights; None if they fit.
    """
    if _size(weights.backbone) != _size(backbone):
        return f'is of {size_name(weights.backbone)}, not of {size_name(backbone)}'
    norm = _type(backbone.get('norm_cfg'), 'BN')
    layer = norm if inspect.isclass(norm) else MODELS.get(norm)
    if layer is None or infer_abbr(layer) != 'bn':
        return f'has batch norm, not {norm}'
    convolution = _type(backbone.get('conv_cfg'), 'Conv2d')
    if convolution not in ('Conv', 'Conv2d'):
        return f'has plain convolutions, not {convolution}'
    se_cfg, public_se = backbone.get('se_cfg') or {}, weights.backbone.get('se_cfg', {})
    reduction = se_cfg.get('reduction', DEFAULT_REDUCTION)
    reductions = reduction if isinstance(reduction, list | tuple) else [reduction]
    if set(reductions) != {DEFAULT_REDUCTION}:
        return f'has reduction={DEFAULT_REDUCTION}, not {reduction}'
    if not all(se_cfg.get('stages', ())):
        return f'has SE in all stages, not stages={se_cfg["stages"]}'
    compared = [
        (key, weights.backbone.get(key, v), backbone.get(key) or v) for key, v in SHAPE.items()
    ]
    for key, default in OPTIONS.items():
        wanted = public_se.get(key, default)
        compared.append((key, wanted, se_cfg.get(key, wanted)))
    for key, wanted, found in compared:
        if found != wanted:
            return f'has {key}={wanted!r}, not {found!r}'
    return None


def size_name(backbone: Mapping[str, Any]) -> str:
    """The name of a backbone in papers: ``SE-ResNet-50``, ``SE-ResNeXt-101 32x4d``."""
    if not _is_resnet(backbone):
        return ' '.join(str(part) for part in _size(backbone) if part)
    depth, groups, base_width = _size(backbone)
    return f'SE-ResNet-{depth}' if groups == 1 else f'SE-ResNeXt-{depth} {groups}x{base_width}d'


def _best_public_weights(backbone: Mapping[str, Any], named: str) -> PublicWeights | str:
    """The public weights to replace the named ones, or the reason why there are none.

    Preferred are weights of the same recipe, with the usual stem and style. Weights of a strong
    recipe replace only weights of one, since only those configs have an optimizer that suits it.
    """
    if not IMAGENET.match(named):
        return 'they may be of other data than ImageNet, which public SE weights are of'
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
            weights.backbone.get('stem_pool') == 'ceil',
            weights.backbone.get('style') == 'caffe',
        ),
    )
    if not candidates:
        return f'there are no public weights of {size_name(backbone)}'
    fitting = [weights for weights in candidates if not misfit(backbone, weights)]
    return fitting[0] if fitting else f'{candidates[0].name} {misfit(backbone, candidates[0])}'


def _is_resnet(backbone: Mapping[str, Any]) -> bool:
    """Whether a backbone is an SEResNet or SEResNeXt, of which most public weights are."""
    return str(backbone['type']).rpartition('.')[2] in ('SEResNet', 'SEResNeXt')


def _size(backbone: Mapping[str, Any]) -> tuple:
    """What the size of a backbone follows from.

    Of a ResNet, depth, groups and base width; mmdet ignores the base width if there is one group.
    """
    if not _is_resnet(backbone):
        return str(backbone['type']).rpartition('.')[2], backbone.get('arch')
    groups = backbone.get('groups', 1)
    return backbone.get('depth'), groups, backbone.get('base_width', 4) if groups > 1 else 64


def _type(cfg: Mapping[str, Any] | None, default: str) -> Any:
    return (cfg or {}).get('type', default)
