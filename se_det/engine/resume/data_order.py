"""Training data in an order, with augmentations, that depend on seed and position alone."""

from collections.abc import Iterator
from functools import partial
from itertools import islice, repeat
from typing import Any

import torch
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader, Dataset

from se_det.engine.resume.random_numbers import RandomStream

Place = tuple[int, int, int]  # seed, epoch, position among the samples of all processes


class OrderedBatches:
    """Batches of a batch sampler that can start at any position without reading data.

    Each index comes with its place, which seeds the augmentation of its sample.

    Args:
        batch_sampler: the batch sampler; its random numbers too come from the seed.
        seed: the seed of the training.
    """

    # mmengine would call set_epoch of this sampler. Here `set_epoch` alone sets the epoch.
    sampler = None

    def __init__(self, batch_sampler: Any, seed: int) -> None:
        self.batch_sampler = batch_sampler
        self.batch_size = batch_sampler.batch_size
        self.seed = seed
        self.rank, self.world_size = get_dist_info()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, that is a pass over the data.

        Args:
            epoch: its number, from 0.
        """
        self.epoch = epoch
        self.samples = 0
        self.started: Iterator | None = None
        self.stream = RandomStream(self.seed, epoch, self.rank)
        for sampler in (self.batch_sampler, getattr(self.batch_sampler, 'sampler', None)):
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)

    def advance(self, batches: int) -> None:
        """Skip batches without reading data, over as many passes as they take.

        Args:
            batches: how many, from the beginning of the epoch.
        """
        self.started = self._draw()
        drawn = sum(1 for _ in islice(self.started, batches))
        if drawn < batches:
            passes, batches = divmod(batches, drawn)
            self.set_epoch(self.epoch + passes)
            self.started = self._draw()
            sum(1 for _ in islice(self.started, batches))

    def __iter__(self) -> Iterator[list[tuple[int, Place]]]:
        """The batches of a pass: of each sample, its index and place."""
        batches, self.started = self.started or self._draw(), None
        yield from batches
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        """The number of batches in a pass."""
        return len(self.batch_sampler)

    def _draw(self) -> Iterator[list[tuple[int, Place]]]:
        with self.stream():
            batches = iter(self.batch_sampler)
        while True:
            with self.stream():
                batch = next(batches, None)
            if batch is None:
                return
            first = self.samples
            self.samples += len(batch)
            yield [
                (index, (self.seed, self.epoch, (first + place) * self.world_size + self.rank))
                for place, index in enumerate(batch)
            ]


class OrderedLoader(DataLoader):
    """A data loader whose batches depend on the seed and their position alone.

    It does so with any number of workers, and without drawing from the generators that the model
    uses. A transform that remembers earlier images, like mmdet's CachedMosaic, is the exception.

    Args:
        loader: a data loader as mmengine builds it.
        seed: the seed of the training.
    """

    def __init__(self, loader: DataLoader, seed: int) -> None:
        # DataLoader calls __getitems__ with a whole batch where a data set has it.
        loader.dataset.__getitems__ = partial(_samples, loader.dataset)
        self.skipped = 0
        super().__init__(
            loader.dataset,
            batch_sampler=OrderedBatches(loader.batch_sampler, seed),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=torch.Generator(),  # for the seeds of workers, which are not used
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )

    def __iter__(self) -> Iterator[Any]:
        """The batches of a pass. Workers start with the first one, not with the iterator."""
        skipped, self.skipped = self.skipped, 0
        yield from repeat(None, skipped)
        yield from super().__iter__()

    def skip(self, batches: int) -> None:
        """Return None for the first batches, which mmengine's IterBasedTrainLoop drops.

        Args:
            batches: how many.
        """
        self.batch_sampler.advance(batches)
        self.skipped = batches


def _samples(dataset: Dataset, places: list[tuple[int, Place]]) -> list[Any]:
    samples = []
    for index, place in places:
        with RandomStream(*place)():
            samples.append(dataset[index])
    return samples
