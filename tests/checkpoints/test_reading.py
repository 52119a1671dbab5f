import os
import re
import struct
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from se_det.backbones import SEResNet
from se_det.checkpoints import SEPretrained, inspect_weights, read_checkpoint
from se_det.errors import UsageError


class RunsCommand:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class ReadsAttribute:
    """Unpickling this calls getattr on something that is not a training log."""

    def __reduce__(self):
        return getattr, (torch.nn.Linear, 'forward')


def test_weights_and_training_state_are_read(tmp_path):
    log = HistoryBuffer()
    log.update(3.0)
    log.update(5.0)
    state = dict(weight=torch.arange(3.0), log=log, number=np.float64(0.5), array=np.arange(4))
    torch.save(state, tmp_path / 'state.pth')
    read = read_checkpoint(tmp_path / 'state.pth')
    assert torch.equal(read['weight'], torch.arange(3.0))
    assert read['log'].mean(2) == 4.0
    assert read['number'] == 0.5
    assert read['array'].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    'read',
    [
        read_checkpoint,
        inspect_weights,
        lambda path: SEPretrained(path)(SEResNet(18, base_channels=16)),
        lambda path: SEPretrained(path, graft=True)(SEResNet(18, base_channels=16)),
    ],
    ids=['read_checkpoint', 'inspect_weights', 'SEPretrained', 'graft'],
)
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, read):
    torch.save(dict(weight=RunsCommand(tmp_path / 'trace')), tmp_path / 'evil.pth')
    with pytest.raises(UsageError, match=r'evil\.pth was not loaded.*could run code'):
        read(str(tmp_path / 'evil.pth'))
    assert not (tmp_path / 'trace').exists()


def test_the_error_names_the_refused_object_but_not_weights_only(tmp_path):
    torch.save(dict(weight=RunsCommand(tmp_path / 'trace')), tmp_path / 'evil.pth')
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / 'program.pth')
    for name, refused in (('evil', r'\(\w+\.mkdir\)'), ('program', 'could run code')):
        with pytest.raises(UsageError, match=refused) as error:
            read_checkpoint(tmp_path / f'{name}.pth')
        assert 'weights_only' not in str(error.value)
        assert '\x1b' not in str(error.value)


@pytest.mark.parametrize('numpy', [b'numpy.core', b'numpy._core'])
def test_numbers_of_numpy_1_and_2(tmp_path, numpy):
    path = tmp_path / 'state.pth'
    state = dict(number=np.float64(0.5), array=np.arange(4))
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(re.sub(rb'numpy\.(_core|core)(?=\.multiarray)', numpy, path.read_bytes()))
    read = read_checkpoint(path)
    assert read['number'] == 0.5
    assert read['array'].tolist() == [0, 1, 2, 3]


def test_getattr_is_allowed_for_training_logs_alone(tmp_path):
    torch.save(dict(weight=ReadsAttribute()), tmp_path / 'evil.pth')
    with pytest.raises(UsageError, match='was not loaded'):
        read_checkpoint(tmp_path / 'evil.pth')


def _truncated(path):
    torch.save(dict(weight=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:2000])


def _of_the_old_format(length):
    def write(path):
        torch.save(dict(weight=torch.zeros(100)), path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:length])

    return write


def _zip_of_something_else(path):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('readme.txt', 'hello')


@pytest.mark.parametrize(
    'write',
    [
        _truncated,
        _zip_of_something_else,
        lambda path: path.write_bytes(b''),
        lambda path: path.write_text('hello'),
        lambda path: path.write_text('error: rate limit'),
        *map(_of_the_old_format, (1, 20, 75, 150, 223, 300, -4)),
    ],
)
def test_files_that_are_not_checkpoints(tmp_path, write):
    write(tmp_path / 'weights.pth')
    with pytest.raises(UsageError, match=r'weights\.pth .*(damaged|not a torch checkpoint)'):
        read_checkpoint(tmp_path / 'weights.pth')


@pytest.mark.parametrize('error', [PermissionError(13, 'Permission denied'), OSError('gone')])
def test_files_that_cannot_be_read(tmp_path, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    torch.save({}, tmp_path / 'weights.pth')
    monkeypatch.setattr(torch, 'load', refuse)
    monkeypatch.setattr(type(tmp_path), 'open', refuse)
    with pytest.raises(UsageError, match=r'weights\.pth cannot be read: (Permission denied|gone)'):
        read_checkpoint(tmp_path / 'weights.pth')
    with pytest.raises(UsageError, match='No checkpoint at'):
        read_checkpoint(tmp_path)


def test_a_web_page(tmp_path):
    (tmp_path / 'weights.pth').write_text('\n<!DOCTYPE html><html>Not found</html>')
    with pytest.raises(UsageError, match=r'weights\.pth is a web page'):
        read_checkpoint(tmp_path / 'weights.pth')


def test_a_whole_module_or_a_tensor(tmp_path):
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(UsageError, match='contains a Tensor; expected a dict'):
        read_checkpoint(tmp_path / 'tensor.pth')
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'module.pth')
    with pytest.raises(UsageError, match='was not loaded'):
        read_checkpoint(tmp_path / 'module.pth')


def test_safetensors_whole_and_truncated(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(dict(weight=torch.arange(3.0)), path)
    assert torch.equal(read_checkpoint(path)['weight'], torch.arange(3.0))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UsageError, match=r'model\.safetensors is damaged'):
        read_checkpoint(path)


def test_safetensors_that_begin_like_a_web_page(tmp_path):
    """The file begins with the length of its header: 60 is the byte ``<``."""
    path = tmp_path / 'model.safetensors'
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(60)
    path.write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
    assert read_checkpoint(path)['w'].tolist() == [0.0]


def test_the_arguments_of_a_training_program_are_read(tmp_path):
    torch.save(dict(model={}, args=Namespace(lr=0.1)), tmp_path / 'state.pth')
    assert read_checkpoint(tmp_path / 'state.pth')['args'].lr == 0.1


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r'No checkpoint at .*gone\.pth'):
        read_checkpoint(tmp_path / 'gone.pth')


@pytest.mark.skipif(torch.cuda.is_available(), reason='not run: there is a GPU')
def test_a_gpu_that_is_not_there(tmp_path):
    torch.save(dict(weight=torch.zeros(1)), tmp_path / 'weights.pth')
    with pytest.raises(UsageError, match=r"No GPU .*Set map_location='cpu'"):
        read_checkpoint(tmp_path / 'weights.pth', 'cuda')


def test_a_whole_pickled_model(tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'model.pth')
    with pytest.raises(UsageError, match=r'torch\.save\(dict\(state_dict=model\.state_dict'):
        read_checkpoint(tmp_path / 'model.pth')
