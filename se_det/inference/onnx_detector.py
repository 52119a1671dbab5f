"""An exported detector in Python: images in, `Detections` out, with onnxruntime and NumPy."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from se_det.errors import UsageError
from se_det.image_files import read_image
from se_det.inference.detections import Detections, class_indices
from se_det.inference.image_arrays import Image, check_array, resize
from se_det.inference.paste_masks import paste_masks


@dataclass(frozen=True)
class Input:
    """An image as the model takes it.

    Attributes:
        pixels: normalised and padded, (C, H, W) float32.
        size: height and width without padding.
        scale: how much larger than the given image it is, x and y.
        shape: height and width of the given image.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    scale: np.ndarray
    shape: tuple[int, int]


class OnnxDetector:
    """A detector that ``export_onnx`` exported. Needs neither torch nor mmdet.

    ``se_det.OnnxDetector('detector.onnx')('street.jpg', score=0.3)``

    Args:
        path: the ONNX file.
        providers: of onnxruntime, the first that works is used; default the CPU.

    Attributes:
        classes: the names of the classes, by label.

    Raises:
        UsageError: onnxruntime is not installed, or the file is missing, damaged or not an
            exported detector.
    """

    def __init__(self, path: str | Path, providers: Sequence[str] | None = None) -> None:
        self._session = _open(Path(path).expanduser(), providers)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if metadata.get('se_det') != '"detector"':
            found = 'the feature maps of one' if 'se_det' in metadata else 'another model'
            raise UsageError(
                f'{path}: expected a detector that export_onnx exported; found {found}.'
            )
        self._settings = {name: json.loads(value) for name, value in metadata.items()}
        self.classes = tuple(self._settings['classes'])

    def __call__(
        self,
        images: Image | Iterable[Image],
        score: float = 0.0,
        classes: Sequence[str] | None = None,
        batch: int = 1,
    ) -> Detections | list[Detections]:
        """Detect objects, with the arguments and results of `se_det.Detector`."""
        if isinstance(images, Image):
            return self([images], score, classes)[0]
        if batch < 1:
            raise UsageError(f'batch must be 1 or more; got {batch}.')
        class_indices(classes or (), self.classes)
        waiting, found = defaultdict(dict), {}
        for index, image in enumerate(images):
            prepared = self._prepare(image)
            group = waiting[prepared.pixels.shape]
            group[index] = prepared
            if len(group) == batch:
                found.update(self._detect(group))
                group.clear()
        for group in filter(None, waiting.values()):
            found.update(self._detect(group))
        return [found[index].above(score).of(classes) for index in sorted(found)]

    def _prepare(self, image: Image) -> Input:
        settings = self._settings
        channels = len(settings['mean'])
        if not isinstance(image, np.ndarray):
            image = read_image(image, settings.get('gray', False))
        check_array(image, channels)
        shape = image.shape[:2]
        image = image.reshape(*shape, channels)
        image = resize(image, settings['scale'], settings['keep_ratio'])
        size = image.shape[:2]
        if settings['bgr_to_rgb']:
            image = image[..., ::-1]
        mean, std = (np.float32(settings[name]) for name in ('mean', 'std'))
        divisor = settings['pad_size_divisor']
        pixels = np.zeros((channels, *(-(-side // divisor) * divisor for side in size)), np.float32)
        pixels[:, : size[0], : size[1]] = ((image - mean) / std).transpose(2, 0, 1)
        return Input(pixels, size, np.float32([size[1] / shape[1], size[0] / shape[0]]), shape)

    def _detect(self, images: dict[int, Input]) -> dict[int, Detections]:
        """The detections in images of the same padded size, by the images' keys."""
        outputs = self._session.run(
            None,
            dict(
                images=np.stack([image.pixels for image in images.values()]),
                sizes=np.array([image.size for image in images.values()], np.int64),
            ),
        )
        found = {}
        for key, image, *values in zip(images, images.values(), *outputs, strict=True):
            is_used = values[2] >= 0
            boxes, scores, labels, *masks = (value[is_used] for value in values)
            boxes = boxes / np.tile(image.scale, 2)
            masks = (
                paste_masks(masks[0], boxes, image.shape, self._settings['mask_threshold'])
                if masks
                else None
            )
            found[key] = Detections(boxes, scores, labels, self.classes, masks)
        return found


def _open(path: Path, providers: Sequence[str] | None):  # noqa: ANN202  (onnxruntime may be missing)
    if not find_spec('onnxruntime'):
        raise UsageError('OnnxDetector needs onnxruntime. Type: pip install onnxruntime')
    import onnxruntime

    if not path.is_file():
        raise UsageError(
            f'No file {path}. Check the path, or export one: python -m se_det export_onnx.'
        )
    known = onnxruntime.get_available_providers()
    providers = list(providers or ['CPUExecutionProvider'])
    if not set(providers) <= set(known):
        raise UsageError(f'onnxruntime has the providers {known} here; got {providers}.')
    try:
        return onnxruntime.InferenceSession(path, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no common class
        reason = str(error).strip().partition('\n')[0]
        raise UsageError(
            f'{path} cannot be read as an ONNX file: {reason}. Export or copy it again.'
        ) from error
