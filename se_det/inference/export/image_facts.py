"""What a user of an exported file must do to an image, as the config says it."""

from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.config import Config
from torch import nn

from se_det.errors import UsageError
from se_det.inference.trained_model import input_channels, test_steps

IGNORED = {'LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs'}


def preprocessing(cfg: Config, detector: nn.Module) -> dict[str, Any]:
    """Read the test pipeline and the data preprocessor.

    Returns:
        ``gray``, whether an image is read as gray values; ``scale``, width and height that an
        image is resized to; ``keep_ratio``; ``bgr_to_rgb``, ``mean`` and ``std``, which have a
        value for each channel; and ``pad_size_divisor``.

    Raises:
        UsageError: images go through a step that has no place in these values.
    """
    resize, gray = {}, False
    for step in test_steps(cfg):
        step = dict(step)
        kind = step.pop('type').rpartition('.')[2]
        if kind == 'LoadImageFromFile':
            color = step.get('color_type', 'color')
            if color not in ('color', 'grayscale'):
                raise _refusal('test_dataloader.dataset.pipeline', f'color_type={color!r}')
            gray = color == 'grayscale'
        if kind == 'Resize' and not resize and step.keys() <= {'scale', 'keep_ratio'}:
            resize = step
        elif kind not in IGNORED:
            raise _refusal('test_dataloader.dataset.pipeline', f'{kind}({step})')
    if 'scale' not in resize:
        raise _refusal('test_dataloader.dataset.pipeline', 'no Resize')
    scale = resize['scale']
    preprocessor, channels = detector.data_preprocessor, input_channels(detector)
    if type(preprocessor) is not DetDataPreprocessor:
        raise _refusal('model.data_preprocessor', type(preprocessor).__name__)
    if preprocessor.pad_value != 0 or not preprocessor._enable_normalize:
        raise _refusal('model.data_preprocessor', 'another pad_value than 0, or no mean and std')
    return dict(
        scale=[scale, scale] if isinstance(scale, int) else list(scale),
        gray=gray,
        keep_ratio=resize.get('keep_ratio', False),
        bgr_to_rgb=preprocessor._channel_conversion,
        mean=preprocessor.mean.flatten().expand(channels).tolist(),
        std=preprocessor.std.flatten().expand(channels).tolist(),
        pad_size_divisor=preprocessor.pad_size_divisor,
    )


def _refusal(name: str, found: str) -> UsageError:
    return UsageError(
        f'{name} is not exported to ONNX: expected LoadImageFromFile of 8-bit images with '
        "color_type='color' or 'grayscale', Resize(scale, keep_ratio), then "
        f'DetDataPreprocessor with mean, std and pad_value=0; found {found}. Change it in the '
        'config.'
    )
