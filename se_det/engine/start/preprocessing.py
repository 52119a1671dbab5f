"""A config normalises images as its public weights expect."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from se_det.checkpoints.architecture import as_text, published_as
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import public_weights
from se_det.config_files import dicts_in
from se_det.errors import UsageError
from se_det.swap.public_preprocessing import preprocessing_changes, preprocessors


def check_preprocessing(cfg: Config) -> None:
    """Check that a config normalises images as its public weights expect.

    Args:
        cfg: the config of a run. A checkpoint in an ``SEPretrained`` is public by its name, or if
            `tools/convert_weights.py` made it of a public one.

    Raises:
        UsageError: mean, std or the order of the colour channels differs, with the lines to paste;
            or a file that ``SEPretrained`` names cannot be read.
    """
    for checkpoint in _checkpoints(cfg.get('model', {})):
        weights = public_weights(checkpoint)
        if weights is None and Path(checkpoint).expanduser().is_file():
            weights = published_as(find_backbone(read_checkpoint(checkpoint)), checkpoint)
        for found in _normalisations(cfg) if weights else ():
            if changes := preprocessing_changes(found, weights):
                raise UsageError(
                    f'{weights.name} was trained on RGB images with another mean or std than this '
                    f"config's data_preprocessor gives: {dict(found)}. Set\n"
                    f'model = dict(data_preprocessor={as_text(changes)})'
                )


def _normalisations(cfg: Config) -> list[dict]:
    """What normalises the images of a run; empty if a ``Normalize`` in its pipelines does."""
    model = {'data_preprocessor': cfg.get('data_preprocessor') or {}, **cfg.get('model', {})}
    in_pipeline = any(step.get('type') == 'Normalize' for _, step in dicts_in(cfg))
    return list(preprocessors(model)) or ([] if in_pipeline else [model['data_preprocessor'] or {}])


def _checkpoints(model: dict) -> Iterator[str]:
    """The checkpoints of a model's ``SEPretrained``, those to graft SE to left out."""
    for _, cfg in dicts_in(model):
        if cfg.get('type') == 'SEPretrained' and not cfg.get('graft'):
            yield str(cfg.get('checkpoint'))
