"""One way to find weights, for all that read a checkpoint."""

from collections import OrderedDict

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from safetensors.torch import save_file

from se_det.checkpoints import inspect_weights, read_checkpoint
from se_det.checkpoints.state_dicts import WRAPPERS, find_weights
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
    assert find_weights(dict(state_dict=averaged, state_dict_ema={}), '') is averaged
    assert find_weights({**averaged, 3: torch.zeros(1)}, '').keys() == expected  # a key of no text


@pytest.mark.parametrize(
    'checkpoint',
    [
        {},
        dict(state_dict={}),
        dict(epoch=3, scheduler={}, optimizer=dict(state={0: torch.zeros(1)})),
    ],
)
def test_a_file_without_weights_is_described(checkpoint, save):
    keys = ', '.join(checkpoint) or 'none'
    path = save(checkpoint)['checkpoint']
    with pytest.raises(UsageError, match=rf'No weights in .*\.pth\. Its keys: {keys}') as error:
        inspect_weights(path)
    assert '--layout' not in str(error.value)


def test_the_format_is_told_by_the_content(tmp_path, network):
    weights = network.state_dict()
    save_file(weights, tmp_path / 'safetensors.pth')
    torch.save(weights, tmp_path / 'zip.safetensors')
    torch.save(weights, tmp_path / 'old', _use_new_zipfile_serialization=False)
    for path in tmp_path.iterdir():
        assert torch.equal(read_checkpoint(path)['0.weight'], weights['0.weight'])
