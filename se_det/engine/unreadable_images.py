"""Images that cannot be read in the middle of a run.

Training takes another image; validation counts no detections; a test ends with an error.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

from se_det.errors import UsageError
from se_det.image_files import ImageFileError, load_image, set_image

NEXT = 'To find all such images, type: python -m se_det check_dataset CONFIG'


class UnreadableImageError(UsageError):
    """An image of the data set that cannot be read.

    From a process of the data loader, torch raises it with the traceback there before its message.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition(f'{type(self).__name__}: ')[2].strip())


class GuardedLoading:
    """A LoadImageFromFile that returns None for an image that cannot be read.

    mmengine's data sets then draw another index. They draw nothing while all images can be read, so
    that such a run is the same as without the guard.

    Args:
        load: the transform that loads the image.
        limit: how many images may be replaced; None raises at the first.
        replaced: a uint8 tensor in shared memory, 1 at the hash of each image that was replaced:
            the processes of a data loader count together, and each image counts once.
    """

    def __init__(
        self, load: LoadImageFromFile, limit: int | None, replaced: torch.Tensor | None = None
    ) -> None:
        self.load = load
        self.limit = limit
        self.replaced = replaced

    def __call__(self, results: dict) -> dict | None:
        """Load the image, or return None.

        Raises:
            UnreadableImageError: more images than the limit cannot be read.
        """
        try:
            return load_image(self.load, results)
        except ImageFileError as error:
            return self._replace(results.get('img_path'), str(error))

    def _replace(self, path: Any, reason: str) -> None:
        if self.limit is None:
            raise UnreadableImageError(
                f'{path} {reason}. To leave it out would change the evaluation. '
                f'Restore the file, or take it out of the annotations. {NEXT}'
            )
        is_new = self._is_new(path)
        count = int(self.replaced.sum())
        if count > self.limit:
            raise UnreadableImageError(
                f'{path} {reason}. It is the {count}. image that cannot be read, and '
                f'max_unreadable_images={self.limit}; the log names the others. {NEXT}\n'
                f'To replace more: --cfg-options max_unreadable_images={10 * count}'
            )
        if is_new:
            print_log(
                f'{path} {reason}. Another image takes its place '
                f'({count} of at most {self.limit}).',
                logger='current',
                level=30,  # WARNING
            )

    def _is_new(self, path: Any) -> bool:
        """Whether it is the first time that an image is replaced."""
        slot = zlib.crc32(str(path).encode(errors='replace')) % len(self.replaced)
        is_new = not self.replaced[slot]
        self.replaced[slot] = 1
        return is_new

    def __getattr__(self, name: str) -> Any:
        if name == 'load':  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.load, name)

    def __repr__(self) -> str:
        return repr(self.load)


class LoadingWithStandIns(GuardedLoading):
    """A LoadImageFromFile that returns a black image for one that cannot be read.

    Args:
        load: as in `GuardedLoading`.
        replaced: as there.

    Attributes:
        failed: whether the last image was such a stand-in.
    """

    def __init__(self, load: LoadImageFromFile, replaced: torch.Tensor) -> None:
        super().__init__(load, None, replaced)
        self.failed = False
        channels = () if load.color_type.startswith('grayscale') else (3,)
        self._like = np.zeros((0, 0, *channels), np.uint8)

    def __call__(self, results: dict) -> dict:
        """Load the image, or a black one of the size that the annotations say."""
        try:
            loaded = load_image(self.load, results)
            self.failed, self._like = False, loaded['img'][:0, :0]
            return loaded
        except ImageFileError as error:
            path, size = results.get('img_path'), (results.get('height'), results.get('width'))
            if None in size:
                return self._replace(path, str(error))
            if self._is_new(path):
                text = f'{path} {error}. It counts as an image without detections. {NEXT}'
                print_log(text, logger='current', level=30)
            self.failed = True
            shape = (*size, *self._like.shape[2:])
            return set_image(self.load, results, np.zeros(shape, self._like.dtype))


class MarkStandIns:
    """The last step of a pipeline: marks samples whose image is a stand-in.

    Args:
        loading: the first step.
    """

    def __init__(self, loading: LoadingWithStandIns) -> None:
        self.loading = loading

    def __call__(self, results: dict) -> dict:
        """Mark the sample for `without_detections`."""
        if self.loading.failed:
            results['data_samples'].set_metainfo(dict(is_stand_in=True))
        return results


class UnreadableImagesHook(Hook):
    """Guard the loading of images in all data sets of a run.

    Args:
        limit: how many images of the training data may be replaced, in each process of a
            distributed training.
    """

    priority = 'LOWEST'  # after hooks that change the pipeline

    def __init__(self, limit: int = 10) -> None:
        if type(limit) is not int or limit < 0:
            raise UsageError(
                f'max_unreadable_images must be 0 or a positive integer; got {limit!r}. '
                'Set max_unreadable_images=10 in the config.'
            )
        self.limit = limit
        self.replaced, self.replaced_in_val = (
            torch.zeros(1 << 16, dtype=torch.uint8).share_memory_() for _ in range(2)
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Guard the training data before its processes start, and after other hooks changed it."""
        self._guard(runner.train_dataloader.dataset, self.limit)

    def before_val(self, runner: Runner) -> None:
        """Let images of the validation data that cannot be read count as without detections."""
        for steps in _pipelines(runner.val_dataloader.dataset):
            for index in _loading_steps(steps):
                steps[index] = LoadingWithStandIns(steps[index], self.replaced_in_val)
                steps.append(MarkStandIns(steps[index]))
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.stand_ins = 0
        self._handle = model.register_forward_hook(self._remove_detections)

    def after_val(self, runner: Runner) -> None:
        """Log how many images count as without detections."""
        self._handle.remove()
        if self.stand_ins:
            runner.logger.warning(
                f'{self.stand_ins} images could not be read and count as without detections in '
                f'this validation; their names are above. {NEXT}'
            )

    def _remove_detections(self, model: nn.Module, inputs: tuple, outputs: Any) -> None:
        for sample in outputs if isinstance(outputs, (list, tuple)) else ():
            if isinstance(sample, BaseDataElement) and sample.get('is_stand_in', False):
                sample.pred_instances = sample.pred_instances[:0]
                self.stand_ins += 1

    def before_test(self, runner: Runner) -> None:
        """Let an image of the test data that cannot be read be an error."""
        self._guard(runner.test_dataloader.dataset, None)

    def after_train(self, runner: Runner) -> None:
        """Log how many images were replaced."""
        count = int(self.replaced.sum())
        if count:
            runner.logger.warning(
                f'{count} images could not be read and were replaced; their names are above. {NEXT}'
            )

    def _guard(self, dataset: Dataset, limit: int | None) -> None:
        for steps in _pipelines(dataset):
            for index in _loading_steps(steps):
                steps[index] = GuardedLoading(steps[index], limit, self.replaced)


def _pipelines(dataset: Any) -> Iterator[list]:
    """The lists of transforms of a data set and of those that it wraps."""
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]:
        if inner is not None:
            yield from _pipelines(inner)
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if isinstance(steps, list):
        yield steps


def _loading_steps(steps: list) -> list[int]:
    """Where images are loaded from files."""
    return [
        index
        for index, step in enumerate(steps)
        if isinstance(step, LoadImageFromFile) and not isinstance(step, LoadImageFromNDArray)
    ]
