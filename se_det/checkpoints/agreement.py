"""Does a config agree with its weights: the backbone's arguments, the images' preprocessing?"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmengine.logging import MessageHub
from torch import nn

from se_det.checkpoints.architecture import as_text
from se_det.checkpoints.zoo import PublicWeights, public_weights
from se_det.errors import UsageError


def check_backbone(backbone: nn.Module, wanted: dict[str, Any], source: str) -> None:
    """Check the arguments that a backbone was built with.

    Args:
        backbone: an SEResNet or SEResNeXt.
        wanted: the config of the backbone that the weights were trained in, as
            `se_det.checkpoints.architecture.describe_backbone` gives it.
        source: what to call the weights.

    Raises:
        UsageError: an argument differs; the message has the lines to paste.
    """
    different = {
        key: value
        for key, value in wanted.items()
        if key not in ('type', 'se_cfg') and _argument(backbone, key) != value
    }
    relu_before_se = wanted.get('se_cfg', {}).get('relu_before_se', False)
    if relu_before_se != backbone.relu_before_se:
        different['se_cfg'] = {**wanted.get('se_cfg', {}), 'relu_before_se': relu_before_se}
    is_wider = wanted['type'] == 'SEResNet' and _argument(backbone, 'groups') > 1
    if different or is_wider:
        found = ', '.join(
            f'{key}={_argument(backbone, key)!r}' for key in [*different, *['groups'] * is_wider]
        )
        raise UsageError(
            f'The backbone does not follow its weights, {source}: it has {found}. Set\n'
            f'model = dict(backbone={as_text({**wanted, **different})})'
            + ('\nand remove groups and base_width.' if is_wider else '')
        )


def check_preprocessing(cfg: Config, public: PublicWeights | None = None) -> None:
    """Check that a config's images are made as those that its public weights were trained on.

    Args:
        cfg: the config of a run.
        public: the weights; if not given, all that ``SEPretrained`` in the config names.

    Raises:
        UsageError: mean, std or the order of the colours differs; the message has the lines to
            paste.
    """
    model = cfg.get('model', {})
    used = [public] if public else [public_weights(name) for name in _pretrained(model)]
    for weights in filter(None, used):
        for found in _of_images(cfg):
            if changes := preprocessing_changes(found, weights):
                raise UsageError(
                    f'{weights.name} was trained on RGB images with another mean or std than this '
                    f"config's data_preprocessor gives: {dict(found)}. Set\n"
                    f'model = dict(data_preprocessor={as_text(changes)})'
                )


def preprocessing_changes(
    found: dict, weights: PublicWeights | type[PublicWeights] = PublicWeights
) -> dict[str, Any]:
    """What to set in a ``data_preprocessor`` for weights, by default for those of the zoo.

    Returns:
        Arguments and their values; none if it makes such images already.
    """
    wanted = deepcopy(weights.data_preprocessor)
    in_order = bool(found.get('bgr_to_rgb')) and not found.get('rgb_to_bgr')
    if in_order and all(_close(found.get(name), wanted[name]) for name in ('mean', 'std')):
        return {}
    return {**wanted, **(dict(rgb_to_bgr=False) if found.get('rgb_to_bgr') else {})}


def preprocessors(model: dict) -> Iterator[dict]:
    """Every ``data_preprocessor`` of a model's config that normalises images."""
    for key, value in model.items():
        if isinstance(value, dict):
            if key == 'data_preprocessor' and value.get('mean') is not None:
                yield value
            yield from preprocessors(value)


def _of_images(cfg: Config) -> list[dict]:
    """The ``data_preprocessor`` that normalises a run's images; one without a mean does not.

    There is none where a step of the pipelines does that.
    """
    model = {'data_preprocessor': cfg.get('data_preprocessor') or {}, **cfg.get('model', {})}
    in_pipeline = any(step.get('type') == 'Normalize' for step in _dicts(cfg))
    return list(preprocessors(model)) or ([] if in_pipeline else [model['data_preprocessor'] or {}])


def running_config() -> Config | None:
    """The config of mmengine's Runner that this process runs, if it runs one."""
    text = MessageHub.get_current_instance().get_info('cfg', None)
    return Config.fromstring(text, '.py') if text else None


def _argument(backbone: nn.Module, key: str) -> Any:
    if key == 'se_cfg':
        return dict(relu_before_se=backbone.relu_before_se)
    return getattr(backbone, key, dict(groups=1, base_width=64).get(key))


def _pretrained(value: Any) -> Iterator[str]:
    """The checkpoints that ``SEPretrained`` names anywhere in a config."""
    for cfg in _dicts(value):
        if cfg.get('type') == 'SEPretrained' and not cfg.get('graft'):
            yield str(cfg.get('checkpoint'))


def _dicts(value: Any) -> Iterator[dict]:
    """Every dict in a config."""
    if isinstance(value, dict | Config):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _dicts(inner)


def _close(found: Any, wanted: list[float]) -> bool:
    return (
        isinstance(found, list | tuple)
        and len(found) == len(wanted)
        and all(abs(a - b) < 0.01 for a, b in zip(found, wanted, strict=True))
    )
