"""A loss or a weight that is not finite ends the training and is not saved."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from se_det.engine.finite import FiniteLossHook, check_finite
from se_det.errors import UsageError


def _iterate(hook, *losses):
    for index, loss in enumerate(losses):
        data = dict(data_samples=[dict(img_path=f'train/{index}.jpg')])
        runner = SimpleNamespace(iter=index)
        hook.after_train_iter(
            runner, index, data, dict(loss_cls=torch.tensor(loss), acc=float('nan'))
        )


@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_it_stops_after_the_iterations_that_are_set(bad):
    with pytest.raises(
        UsageError, match=r'loss_cls not finite in 2 iterations.*train/4\.jpg.*--resume'
    ):
        _iterate(FiniteLossHook(2), 1.0, bad, 1.0, bad, bad)
    _iterate(FiniteLossHook(2), 1.0, bad, 1.0, bad, 1.0)


def test_weights_that_are_not_finite_are_named():
    model = nn.Linear(2, 2)
    check_finite(model)
    model.bias.data[0] = float('inf')
    with pytest.raises(UsageError, match='bias not finite, and therefore not saved'):
        check_finite(model)
