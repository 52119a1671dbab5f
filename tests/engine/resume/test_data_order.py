"""Data come in an order, with augmentations, that depend on seed and position alone."""

import random
from itertools import chain, islice, repeat
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.datasets.samplers import (
    AspectRatioBatchSampler,
    ClassAwareSampler,
    GroupMultiSourceSampler,
)
from mmengine.dataset import BaseDataset, ConcatDataset, DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader

from se_det.engine.resume.data_order import OrderedBatches, OrderedLoader
from se_det.engine.resume.random_numbers import generator_states


class Images(BaseDataset):
    """Twenty-one images of two aspect ratios and three classes."""

    METAINFO: ClassVar = dict(classes=('a', 'b', 'c'))

    def load_data_list(self):
        return [
            dict(index=index, width=1 + index % 3, height=2, instances=[dict(bbox_label=index % 3)])
            for index in range(21)
        ]

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()

    def get_cat_ids(self, index):
        return [self.get_data_info(index)['instances'][0]['bbox_label']]


def _batches(kind, seed=0):
    images = Images(serialize_data=False)
    if kind == 'default':
        return BatchSampler(DefaultSampler(images, seed=seed), 4, False)
    if kind == 'infinite':
        return BatchSampler(InfiniteSampler(images, seed=seed), 4, False)
    if kind == 'aspect ratio':
        return AspectRatioBatchSampler(DefaultSampler(images, seed=seed), 4)
    if kind == 'class aware':
        return BatchSampler(ClassAwareSampler(images, seed=seed), 4, False)
    images = ConcatDataset([images, Images(serialize_data=False)])
    sampler = GroupMultiSourceSampler(images, batch_size=4, source_ratio=[1, 3], seed=seed)
    return BatchSampler(sampler, 4, False)


KINDS = ['default', 'infinite', 'aspect ratio', 'class aware', 'two sources']


def _many(batches, count):
    """Batches of as many passes as it takes."""
    return list(islice(chain.from_iterable(repeat(batches)), count))


@given(kind=st.sampled_from(KINDS), start=st.integers(0, 40), seed=st.integers(0, 3))
def test_batches_start_anywhere(kind, start, seed):
    whole = _many(OrderedBatches(_batches(kind, seed), seed), start + 7)
    rest = OrderedBatches(_batches(kind, seed), seed)
    rest.advance(start)
    assert _many(rest, 7) == whole[start:]


@pytest.mark.parametrize('kind', ['default', 'aspect ratio', 'class aware'])
def test_an_epoch_is_the_same_whatever_was_before(kind):
    batches = OrderedBatches(_batches(kind), 0)
    list(batches), list(batches)
    again = OrderedBatches(_batches(kind), 0)
    again.set_epoch(2)
    assert list(batches) == list(again)


@pytest.mark.parametrize('workers', [0, 2])
def test_samples_depend_on_seed_and_position_alone(workers):
    def samples(seed=5, workers=0, disturb=1):
        torch.manual_seed(disturb)
        np.random.seed(disturb)
        loader = DataLoader(Images(), batch_sampler=_batches('default', seed), num_workers=workers)
        loader = OrderedLoader(loader, seed)
        return [torch.stack(batch) for batch in chain(loader, loader)]

    def equal(one, other):
        return all(map(torch.equal, one, other))

    expected = samples()
    assert equal(expected, samples(workers=workers, disturb=2))
    assert not equal(expected, samples(seed=6))
    values = torch.cat(expected, 1)[1:]
    assert values.unique().numel() == values.numel()  # no sample repeats another's numbers


def test_loading_leaves_the_models_generators_alone():
    before = generator_states()
    loader = OrderedLoader(DataLoader(Images(), batch_sampler=_batches('aspect ratio')), 0)
    list(islice(loader, 3))
    after = generator_states()
    assert before.pop('torch').equal(after.pop('torch'))
    assert before == after


def test_two_ranks_share_the_samples_of_one(monkeypatch):
    """The same images with the same augmentations, whatever the number of processes."""

    def places(rank, world_size, batch_size):
        for module in ('mmengine.dataset.sampler', 'se_det.engine.resume.data_order'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda: (rank, world_size))
        sampler = BatchSampler(DefaultSampler(range(16), seed=0), batch_size, False)
        return list(OrderedBatches(sampler, 0))

    one = places(0, 1, 4)
    two = zip(places(0, 2, 2), places(1, 2, 2), strict=True)
    assert [sorted(batch) for batch in one] == [sorted([*a, *b]) for a, b in two]
