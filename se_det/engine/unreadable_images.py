"""Images that cannot be read in the middle of a run: replaced in training, an error elsewhere."""

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadImageFromNDArray
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import Dataset

from se_det.datasets.check.images import (
    decodes_strictly,
    ends_with_mark_of_file,
    image_fault,
)
from se_det.errors import UsageError

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
        path = results.get('img_path')
        try:
            loaded = self.load(results)
            if loaded is not None and _is_whole(path):
                return loaded
            reason = None
        except Exception as error:  # any decoder and any storage backend
            reason = f'raises {type(error).__name__}: {error}'
        return self._replace(path, image_fault(path) or reason or 'cannot be decoded')

    def _replace(self, path: Any, reason: str) -> None:
        if self.limit is None:
            raise UnreadableImageError(
                f'{path} {reason}. To leave it out would change the evaluation. '
                f'Restore the file, or take it out of the annotations. {NEXT}'
            )
        slot = zlib.crc32(str(path).encode()) % len(self.replaced)
        is_new = not self.replaced[slot]
        self.replaced[slot] = 1
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

    def __getattr__(self, name: str) -> Any:
        if name == 'load':  # not there yet while it is unpickled
            raise AttributeError(name)
        return getattr(self.load, name)

    def __repr__(self) -> str:
        return repr(self.load)


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
        self.replaced = torch.zeros(1 << 16, dtype=torch.uint8).share_memory_()

    def before_train(self, runner: Runner) -> None:
        """Guard the training data before its processes start."""
        self._guard(runner.train_dataloader.dataset, self.limit)

    def before_train_epoch(self, runner: Runner) -> None:
        """Guard a pipeline that another hook has set."""
        self._guard(runner.train_dataloader.dataset, self.limit)

    def before_val(self, runner: Runner) -> None:
        """Let an image of the validation data that cannot be read be an error."""
        self._guard(runner.val_dataloader.dataset, None)

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
            for index, step in enumerate(steps):
                if isinstance(step, LoadImageFromFile) and not isinstance(
                    step, LoadImageFromNDArray
                ):
                    steps[index] = GuardedLoading(step, limit, self.replaced)


def _pipelines(dataset: Any) -> Iterator[list]:
    """The lists of transforms of a data set and of those that it wraps."""
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]:
        if inner is not None:
            yield from _pipelines(inner)
    steps = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if isinstance(steps, list):
        yield steps


def _is_whole(path: Any) -> bool:
    """Whether a local image file is not cut off; OpenCV may fill up what is missing."""
    return ends_with_mark_of_file(path) or decodes_strictly(path)
