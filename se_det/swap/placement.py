"""Write the chosen weights into a config, and the arguments and preprocessing that fit them."""

import inspect
from typing import Any

from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.model import BaseModule, PretrainedInit

from se_det.checkpoints.architecture import as_text
from se_det.checkpoints.zoo import PublicWeights
from se_det.config_files import dicts_in
from se_det.swap.choice import Choice, choose_weights
from se_det.swap.public_preprocessing import preprocessing_changes, preprocessors

EPS = 1e-5  # of batch norm, in the training of the public weights


def place_weights(
    twin: Config,
    backbone: dict,
    owner: dict,
    others: list[str],
    checkpoint: str | None = None,
    graft: bool = False,
) -> list[str]:
    """Choose the weights that an SE backbone starts from, and change its config to suit them.

    Args:
        twin: a whole config, changed in place.
        backbone: its SE backbone, which still names the weights of the plain one.
        owner: its detector that contains the backbone.
        others: paths of other networks in it that see the same images.
        checkpoint: as in `choose_weights`.
        graft: as in `choose_weights`.

    Returns:
        The changes, as lines for the log.

    Raises:
        UsageError: as `choose_weights`.
    """
    named = _whole_detector(twin, owner) or _pretrained(backbone) or backbone.get('pretrained')
    choice = choose_weights(backbone, named, _must_keep(twin, owner, others), checkpoint, graft)
    if choice.checkpoint:
        _start_from(choice, twin, backbone, owner)
    return [choice.reason, *(_follow(choice.public, twin, backbone) if choice.public else ())]


def _whole_detector(twin: Config, owner: dict) -> str | None:
    """The weights of a whole detector that the config names and ``SEPretrained`` can replace."""
    starts_it = owner is twin.model and _takes_weights(owner.get('type'))
    return (twin.get('load_from') if starts_it else None) or _pretrained(owner)


def _takes_weights(kind: Any) -> bool:
    """Whether a detector keeps the weights that its ``init_cfg`` names.

    MMDetection's distillers have no ``init_cfg``. DETR and its variants override ``init_weights``
    and initialise again after ``init_cfg``.
    """
    detector = kind if inspect.isclass(kind) else MODELS.get(str(kind))
    if getattr(detector, 'init_weights', None) is not BaseModule.init_weights:
        return False
    for cls in detector.__mro__:
        parameters = inspect.signature(cls.__init__).parameters
        if 'init_cfg' in parameters or 'kwargs' not in parameters:
            break
    return 'init_cfg' in parameters


def _must_keep(twin: Config, owner: dict, others: list[str]) -> str | None:
    """The reason why a backbone must start from the weights that the config names."""
    if twin.get('load_from') or _pretrained(owner):
        return 'the config starts from a whole detector'
    if others and any(map(preprocessing_changes, _images(twin))):
        return f'the preprocessing must stay as it is for {others[0]}'
    shared_head = (owner.get('roi_head') or {}).get('shared_head')
    if shared_head and _pretrained(shared_head):
        return 'roi_head.shared_head loads layers of the same file'
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
    """Write ``SEPretrained`` into the detector if the config starts from a whole one.

    Otherwise, write it into the backbone.
    """
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
    """Replace ``Pretrained`` in ``init_cfg``; other initialisations stay, and come before it."""
    others = [init for init in _as_list(cfg.get('init_cfg')) if not _is_pretrained(init)]
    if others:
        cfg['init_cfg'] = [*others, init_cfg] if init_cfg else others
    else:
        cfg['init_cfg'] = init_cfg


def _follow(public: PublicWeights, twin: Config, backbone: dict) -> list[str]:
    """Set the backbone's arguments and the preprocessing to those that public weights need."""
    log = []
    wanted = public.backbone
    for argument, default in (('style', 'pytorch'), ('stem_pool', 'padded')):
        found = backbone.get(argument, default)
        if found != wanted.get(argument, found):
            backbone[argument] = wanted[argument]
            log.append(f'{argument}: {found} -> {wanted[argument]}')
    norm_cfg = backbone.get('norm_cfg') or {}
    if (eps := norm_cfg.get('eps', EPS)) != EPS:  # 0 suits Caffe's folded statistics
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
        others = {key: value for key, value in twin.items() if key != 'model'}
        kinds = {str(s.get('type')) for _, s in dicts_in(others) if s.get('mean') is not None}
        steps = sorted(kind for kind in kinds if 'Preprocessor' not in kind)
        log += [f'{step} keeps its own mean; check it' for step in steps]
    return log


def _images(twin: Config) -> list[dict]:
    """The ``data_preprocessor`` of the model, and the variable of that name in some configs."""
    return list(preprocessors({key: twin.get(key) for key in ('model', 'data_preprocessor')}))
