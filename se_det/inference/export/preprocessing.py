"""What a user of an exported file must do to an image, as the config says it."""

from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.config import Config
from torch import nn

from se_det.errors import UsageError
from se_det.inference.trained_model import test_steps

IGNORED = {'LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs'}


def preprocessing(cfg: Config, detector: nn.Module) -> dict[str, Any]:
    """Read the test pipeline and the data preprocessor.

    Returns:
        ``scale``, width and height that an image is resized to; ``keep_ratio``; ``bgr_to_rgb``,
        ``mean`` and ``std``; and ``pad_size_divisor``.

    Raises:
        UsageError: images go through a step that has no place in these values.
    """
    resize = {}
    for step in test_steps(cfg):
        step = dict(step)
        kind = step.pop('type').rpartition('.')[2]
        if kind == 'Resize' and not resize and step.keys() <= {'scale', 'keep_ratio'}:
            resize = step
        elif kind not in IGNORED:
            raise _refusal('test_dataloader.dataset.pipeline', f'{kind}({step})')
    if 'scale' not in resize:
        raise _refusal('test_dataloader.dataset.pipeline', 'no Resize')
    scale = resize['scale']
    preprocessor = detector.data_preprocessor
    if type(preprocessor) is not DetDataPreprocessor:
        raise _refusal('model.data_preprocessor', type(preprocessor).__name__)
    if preprocessor.pad_value != 0 or not preprocessor._enable_normalize:
        raise _refusal('model.data_preprocessor', 'another pad_value than 0, or no mean and std')
    return dict(
        scale=[scale, scale] if isinstance(scale, int) else list(scale),
        keep_ratio=resize.get('keep_ratio', False),
        bgr_to_rgb=preprocessor._channel_conversion,
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        pad_size_divisor=preprocessor.pad_size_divisor,
    )


def _refusal(name: str, found: str) -> UsageError:
    return UsageError(
        f'{name} is not exported to ONNX: expected Resize(scale, keep_ratio), then '
        f'DetDataPreprocessor with mean, std and pad_value=0; found {found}. Change it in the '
        'config.'
    )
