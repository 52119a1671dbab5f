"""Where a config names weights: those that its SE twin starts from, and what has to follow them."""

import inspect
from collections.abc import Iterator
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModule, PretrainedInit

from se_det.checkpoints.architecture import as_text
from se_det.checkpoints.zoo import PublicWeights
from se_det.swap.choice import Choice, choose_weights
from se_det.swap.preprocessing import preprocessing_changes, preprocessors

EPS = 1e-5  # of batch norm, where public weights were trained


def place_weights(
    twin: Config,
    backbone: dict,
    owner: dict,
    others: list[str],
    checkpoint: str | None = None,
    graft: bool = False,
) -> list[str]:
    """Write the weights that a backbone starts from into its config, and what they want.

    Args:
        twin: a config, to be changed in place.
        backbone: the part of it that was made an SE backbone, with the plain one's weights yet.
        owner: the part that is the detector around the backbone.
        others: other parts that get the same images, by name.
        checkpoint: as in `choose_weights`.
        graft: as in `choose_weights`.

    Returns:
        What was done, in lines for the log.

    Raises:
        UsageError: as `choose_weights` does.
    """
    named = _whole_detector(twin, owner) or _pretrained(backbone) or backbone.get('pretrained')
    choice = choose_weights(backbone, named, _bound_to(twin, owner, others), checkpoint, graft)
    if choice.checkpoint:
        _start_from(choice, twin, backbone, owner)
    return [choice.reason, *(_follow(choice.public, twin, backbone) if choice.public else ())]


def _whole_detector(twin: Config, owner: dict) -> str | None:
    """The weights of a whole detector, in whose place ``SEPretrained`` can load others."""
    starts_it = owner is twin.model and _takes_weights(owner.get('type'))
    return (twin.get('load_from') if starts_it else None) or _pretrained(owner)


def _takes_weights(kind: Any) -> bool:
    """Whether a detector loads what its ``init_cfg`` names, and keeps it.

    MMDetection's distillers take no ``init_cfg``; DETR and its kin are initialised once more after.
    """
    detector = kind if inspect.isclass(kind) else MODELS.get(str(kind))
    if getattr(detector, 'init_weights', None) is not BaseModule.init_weights:
        return False
    for cls in detector.__mro__:
        parameters = inspect.signature(cls.__init__).parameters
        if 'init_cfg' in parameters or 'kwargs' not in parameters:
            break
    return 'init_cfg' in parameters


def _bound_to(twin: Config, owner: dict, others: list[str]) -> str | None:
    """Why a backbone has to start from the weights that the config names."""
    if twin.get('load_from') or _pretrained(owner):
        return 'the config starts from a whole detector'
    if others and any(map(preprocessing_changes, _images(twin))):
        return f'{others[0]} has to get the images that it gets now'
    shared_head = (owner.get('roi_head') or {}).get('shared_head')
    if shared_head and _pretrained(shared_head):
        return 'roi_head.shared_head goes on with layers of the same file'
    return None


def _pretrained(cfg: dict) -> str | None:
    """The checkpoint in a module's ``init_cfg``."""
    found = [init for init in _as_list(cfg.get('init_cfg')) if _is_pretrained(init)]
    return found[0]['checkpoint'] if found else None


def _is_pretrained(init_cfg: dict) -> bool:
    return init_cfg.get('type') in ('Pretrained', PretrainedInit)


def _as_list(value: Any) -> list:
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def _start_from(choice: Choice, twin: Config, backbone: dict, owner: dict) -> None:
    """Write ``SEPretrained`` where the config names weights; a whole detector's are its own."""
    init_cfg = dict(type='SEPretrained', checkpoint=choice.checkpoint)
    if choice.graft:
        init_cfg['graft'] = True
    backbone.pop('pretrained', None)
    whole = _whole_detector(twin, owner)
    if not whole:
        _replace_pretrained(backbone, init_cfg)
        return
    if whole == twin.get('load_from'):
        twin.load_from = None
    _replace_pretrained(owner, init_cfg)
    if _pretrained(backbone):
        _replace_pretrained(backbone, None)


def _replace_pretrained(cfg: dict, init_cfg: dict | None) -> None:
    """Other initialisations stay, before it, as mmengine has them."""
    others = [init for init in _as_list(cfg.get('init_cfg')) if not _is_pretrained(init)]
    if others:
        cfg['init_cfg'] = [*others, init_cfg] if init_cfg else others
    else:
        cfg['init_cfg'] = init_cfg


def _follow(public: PublicWeights, twin: Config, backbone: dict) -> list[str]:
    """Give backbone and images what public weights want; say what was changed."""
    log = []
    wanted = public.backbone
    for argument, default in (('style', 'pytorch'), ('stem_pool', 'padded')):
        found = backbone.get(argument, default)
        if found != wanted[argument]:
            backbone[argument] = wanted[argument]
            log.append(f'{argument}: {found} -> {wanted[argument]}')
    norm_cfg = backbone.get('norm_cfg') or {}
    if (eps := norm_cfg.get('eps', EPS)) != EPS:  # 0 suits statistics that are folded to 0 and 1
        backbone['norm_cfg'] = {**norm_cfg, 'eps': EPS}
        log.append(f'norm_cfg: eps={eps} -> {EPS}')
    if 'se_cfg' in wanted:
        backbone['se_cfg'] = {**backbone.get('se_cfg', {}), **wanted['se_cfg']}
        log.append(f'se_cfg: {as_text(backbone["se_cfg"])}')
    images = [(found, preprocessing_changes(found, public)) for found in _images(twin)]
    for found, changes in images:
        found.update(changes)
    if any(changes for _, changes in images):
        log.append(f'data_preprocessor: {as_text(public.data_preprocessor)}')
        steps = {key: value for key, value in twin.items() if key != 'model'}
        log += [f'{step} keeps its mean; is it right?' for step in sorted(set(_with_mean(steps)))]
    return log


def _with_mean(value: Any) -> Iterator[str]:
    """Steps of pipelines that have a mean of their own, such as RandomCenterCropPad."""
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _with_mean(inner)
    elif isinstance(value, dict):
        kind = str(value.get('type'))
        if value.get('mean') is not None and 'Preprocessor' not in kind:
            yield kind
        yield from _with_mean(list(value.values()))


def _images(twin: Config) -> list[dict]:
    """What normalises images: the model's, and the variable that some configs take it from."""
    return list(preprocessors({key: twin.get(key) for key in ('model', 'data_preprocessor')}))
