"""A trained detector in Python: images in, `Detections` out."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.structures import InstanceData

from se_det.errors import UsageError
from se_det.image_files import ImageFileError, load_image
from se_det.inference.detections import Detections, class_indices
from se_det.inference.image_arrays import Image, check_array
from se_det.inference.trained_model import (
    input_channels,
    load_trained,
    make_faster_on_cpu,
    test_pipeline,
)

VALUES = ('uint8', 'uint16', 'float32')  # that OpenCV resizes
BATCHES_SORTED = 8  # images of that many batches are sorted by size


class Detector:
    """A trained detector.

    ``se_det.Detector('work_dirs/faster_rcnn_se_r50/epoch_12.pth')('street.jpg', score=0.3)``

    On a CPU, `SeparableRoIAlign` takes the place of mmcv's RoIAlign, and weights are in
    channels_last; that computes the same, up to rounding.

    Args:
        checkpoint: path or URL of its weights. Code in it is not run.
        config: that it was trained with, as for `se_det.config_files.read_config`, or a Config.
            Checkpoints of mmengine have it in them; published files may not.
        device: as for `torch.device`; default a GPU if there is one.

    Attributes:
        classes: the names of the classes, by label.
        model: mmdet's.

    Raises:
        UsageError: checkpoint or config cannot be read or do not fit each other, or there is no
            such device.
    """

    def __init__(
        self,
        checkpoint: str | Path,
        config: str | Path | Config | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        self.model, cfg, self.classes = load_trained(checkpoint, config)
        self._load, self._transform = test_pipeline(cfg)
        self._channels = input_channels(self.model)
        device = device or get_device()
        try:
            self.model.to(device)
        except (AssertionError, RuntimeError) as error:  # what torch raises for a missing device
            reason = str(error).partition('\n')[0]
            raise UsageError(f'The device {str(device)!r} cannot be used: {reason}') from error
        if torch.device(device).type == 'cpu':
            make_faster_on_cpu(self.model)

    def __call__(
        self,
        images: Image | Iterable[Image],
        score: float = 0.0,
        classes: Sequence[str] | None = None,
        batch: int = 1,
    ) -> Detections | list[Detections]:
        """Detect objects.

        Args:
            images: one image, or several. An image is the path of a file, which the test pipeline
                reads, or an array (H, W, 3) in BGR, as ``cv2.imread`` returns it; for a detector
                of one channel (H, W). Its values are uint8, uint16 or float32, as in training.
            score: the lowest score to return.
            classes: the classes to return; None: all.
            batch: how many images the model takes at once, at most. It takes only those together
                that are padded to the same size, so that an image's result does not depend on
                the others.

        Returns:
            The detections in one image, or a list of those in each.

        Raises:
            UsageError: an image cannot be read or is not as above, or a class is unknown.
        """
        if isinstance(images, Image):
            return next(self.stream([images], score, classes))
        return list(self.stream(images, score, classes, batch))

    def stream(
        self,
        images: Iterable[Image],
        score: float = 0.0,
        classes: Sequence[str] | None = None,
        batch: int = 1,
    ) -> Iterator[Detections]:
        """Detect objects in any number of images: yields the `Detections` in each, in order.

        A thread reads images while the model computes. At most ``10 * batch`` are in memory.

        Args:
            images: as in `__call__`; the thread iterates over it.
            score: as in `__call__`.
            classes: as in `__call__`.
            batch: as in `__call__`.

        Raises:
            UsageError: as in `__call__`.
        """
        return self.stream_prepared(map(self._prepare, images), score, classes, batch)

    def stream_prepared(
        self,
        samples: Iterable[dict],
        score: float = 0.0,
        classes: Sequence[str] | None = None,
        batch: int = 1,
    ) -> Iterator[Detections]:
        """As `stream`, of what `prepare` returned."""
        if batch < 1:
            raise UsageError(f'batch must be 1 or more; got {batch}.')
        class_indices(classes or (), self.classes)
        samples = _read_ahead(samples, 2 * batch)
        return (found.above(score).of(classes) for found in self._detect(samples, batch))

    def read(self, path: str | Path) -> np.ndarray:
        """Read an image file as the test pipeline does: (H, W, 3) in BGR, or (H, W).

        Raises:
            UsageError: it cannot be read, or is visibly damaged.
        """
        try:
            return load_image(self._load, dict(img_path=str(path)))['img']
        except ImageFileError as error:
            reason = f'{path} {error}. Give an image that OpenCV can read.'
            raise UsageError(reason) from error

    def _prepare(self, image: Image) -> dict:
        if not isinstance(image, np.ndarray):
            image = self.read(image)
        elif self._channels:
            check_array(image, self._channels, VALUES)
        return self.prepare(image)

    def prepare(self, image: np.ndarray) -> dict:
        """Put an image, as `read` returns it, through the test pipeline.

        Raises:
            UsageError: a transform fails, or the detector takes another number of channels.
        """
        try:
            sample = self._transform(dict(img=image, img_id=0))
        except Exception as error:  # a pipeline may have any transforms
            raise UsageError(
                f'An array {image.shape} of {image.dtype} does not pass the '
                f'test pipeline: {type(error).__name__}: {error}'
            ) from error
        found = len(sample['inputs'])
        if self._channels not in (None, found):
            raise UsageError(
                f'The detector takes images of {self._channels} channels; the test pipeline gives '
                f'{found}. Check color_type of LoadImageFromFile.'
            )
        return sample

    def _detect(self, samples: Iterator[dict], batch: int) -> Iterator[Detections]:
        many = 1 if batch == 1 else BATCHES_SORTED * batch
        while window := list(islice(samples, many)):
            found = {}
            for indices in self._batches(window, batch):
                data = pseudo_collate([window[index] for index in indices])
                with torch.inference_mode():
                    results = self.model.test_step(data)
                for index, result in zip(indices, results, strict=True):
                    found[index] = self._detections(result.pred_instances)
            for index in range(len(window)):
                yield found.pop(index)

    def _batches(self, samples: Sequence[dict], batch: int) -> Iterator[list[int]]:
        """Indices of samples that are padded to the same size, at most ``batch`` at once."""
        divisor = getattr(self.model.data_preprocessor, 'pad_size_divisor', 1)
        by_size = defaultdict(list)
        for index, sample in enumerate(samples):
            by_size[tuple(-(-side // divisor) for side in sample['inputs'].shape[1:])].append(index)
        for indices in by_size.values():
            for first in range(0, len(indices), batch):
                yield indices[first : first + batch]

    def _detections(self, instances: InstanceData) -> Detections:
        instances = instances.cpu()
        found = Detections(
            instances.bboxes.numpy().astype(np.float32),
            instances.scores.numpy().astype(np.float32),
            instances.labels.numpy().astype(np.int64),
            self.classes,
            instances.masks.numpy().astype(bool, copy=False) if 'masks' in instances else None,
        )
        is_sorted = (np.diff(found.scores) <= 0).all()
        return found if is_sorted else found[np.argsort(-found.scores, kind='stable')]


def _read_ahead(items: Iterable[dict], count: int) -> Iterator[dict]:
    """Iterate over items that a thread makes ``count`` ahead, while the model computes.

    Decoders and NumPy release Python's lock, so that one thread suffices. What the items raise is
    raised here.
    """
    items = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix='read_ahead')
    try:
        ahead = deque(thread.submit(next, items, None) for _ in range(count))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(thread.submit(next, items, None))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
