"""One way to find weights, for all that read a checkpoint."""

from collections import OrderedDict
from copy import deepcopy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from safetensors.torch import save_file

from se_det.checkpoints import inspect_weights, read_checkpoint
from se_det.checkpoints.state_dicts import WRAPPERS, find_weights, with_state_dict
from se_det.errors import UsageError


@pytest.fixture
def network():
    """With layers whose state dict has versions, which torch's hooks read."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))


def other(weights):
    return {key: tensor + 1 for key, tensor in weights.items()}


@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_every_wrapper(network, wrapper):
    weights = network.state_dict()
    checkpoint = {'epoch': 3, wrapper: weights, 'optimizer_state_dict': {}}
    assert find_weights(checkpoint, '') is weights
    assert with_state_dict(checkpoint, '')['state_dict'] is weights
    assert find_weights({wrapper: dict(state_dict=weights)}, '') is weights
    assert find_weights(weights, '') is weights


@pytest.mark.parametrize('prefix', ['module.', 'module.module.', '_orig_mod.', 'module._orig_mod.'])
def test_prefixes_of_wrapped_models(network, prefix):
    expected = network.state_dict()
    wrapped = OrderedDict((prefix + key, tensor) for key, tensor in expected.items())
    wrapped._metadata = {prefix + key: value for key, value in expected._metadata.items()}
    found = find_weights(dict(model_state_dict=wrapped), '')
    assert found.keys() == expected.keys()
    assert found._metadata == {**expected._metadata}
    mixed = {**wrapped, 'head.weight': torch.zeros(1)}
    assert find_weights(mixed, '') is mixed


def test_averages_of_torch_and_mmengine(network):
    """mmengine's state_dict has the averaged weights, its ema_state_dict those in training."""
    expected = network.state_dict().keys()
    for average in (
        torch.optim.swa_utils.AveragedModel(network),
        ExponentialMovingAverage(network),
    ):
        assert find_weights(dict(ema=average.state_dict()), '').keys() == expected
    averaged, trained = network.state_dict(), other(network.state_dict())
    assert find_weights(dict(ema_state_dict=trained, state_dict=averaged), '') is averaged
    for name in ('ema_state_dict', 'ema'):
        assert find_weights({'model_state_dict': trained, name: averaged}, '') is averaged


def test_a_file_without_weights_is_described():
    checkpoint = dict(epoch=3, scheduler={}, optimizer=dict(state={0: torch.zeros(1)}))
    with pytest.raises(UsageError, match=r'No weights in a\.pth\. Its keys: epoch, scheduler, opt'):
        find_weights(checkpoint, 'a.pth')


def test_the_format_is_told_by_the_content(tmp_path, network):
    weights = network.state_dict()
    save_file(weights, tmp_path / 'safetensors.pth')
    torch.save(weights, tmp_path / 'zip.safetensors')
    torch.save(weights, tmp_path / 'old', _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        assert torch.equal(read_checkpoint(path)['0.weight'], weights['0.weight'])


def test_cut_off_safetensors_are_damaged(tmp_path, network):
    path = tmp_path / 'weights.pth'
    save_file(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(UsageError, match='is damaged or not a checkpoint'):
        read_checkpoint(path)


def test_inspection_of_a_file_of_other_keys(tmp_path):
    torch.save(deepcopy(dict(epoch=1, optimizer_state_dict={})), tmp_path / 'other.pth')
    with pytest.raises(UsageError, match='Its keys: epoch, optimizer_state_dict') as error:
        inspect_weights(str(tmp_path / 'other.pth'))
    assert '--layout' not in str(error.value)
