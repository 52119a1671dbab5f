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


@pytest.fixture
def file(tmp_path):
    return tmp_path / 'weights.pth'


@pytest.mark.parametrize('numpy', [b'numpy.core', b'numpy._core'], ids=['NumPy 1', 'NumPy 2'])
def test_weights_and_training_state_are_read(file, numpy):
    log = HistoryBuffer()
    log.update(3.0)
    log.update(5.0)
    numbers = dict(number=np.float64(0.5), array=np.arange(4))
    state = dict(weight=torch.arange(3.0), log=log, args=Namespace(lr=0.1), **numbers)
    torch.save(state, file, _use_new_zipfile_serialization=False)
    file.write_bytes(re.sub(rb'numpy\.(_core|core)(?=\.multiarray)', numpy, file.read_bytes()))
    read = read_checkpoint(file)
    assert torch.equal(read['weight'], torch.arange(3.0))
    assert read['log'].mean(2) == 4.0
    assert read['args'].lr == 0.1
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
def test_code_in_a_file_is_refused_and_does_not_run(file, tmp_path, read):
    torch.save(dict(weight=RunsCommand(tmp_path / 'trace')), file)
    refused = r'weights\.pth was not loaded.*could run code \(\w+\.mkdir\)'
    with pytest.raises(UsageError, match=refused) as error:
        read(str(file))
    assert 'weights_only' not in str(error.value)  # torch suggests to set it
    assert '\x1b' not in str(error.value)
    assert not (tmp_path / 'trace').exists()


def _of_the_old_format(length):
    def write(path):
        torch.save(dict(weight=torch.zeros(100)), path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:length])

    return write


def _truncated(save, content):
    def write(path):
        save(dict(weight=content), path)
        path.write_bytes(path.read_bytes()[:-4])

    return write


def _zip_of_something_else(path):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('readme.txt', 'hello')


DAMAGED = r'weights\.pth .*(damaged|not a torch checkpoint)'


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (_truncated(torch.save, torch.zeros(1000)), DAMAGED),
        (_truncated(save_file, torch.zeros(1000)), r'weights\.pth is damaged'),
        (_zip_of_something_else, DAMAGED),
        (lambda path: path.write_bytes(b''), DAMAGED),
        (lambda path: path.write_text('error: rate limit'), DAMAGED),
        *((_of_the_old_format(length), DAMAGED) for length in (1, 20, 75, 150, 223, 300, -4)),
        (
            lambda path: path.write_text('\n<!DOCTYPE html><html>Not found</html>'),
            r'weights\.pth is a web page',
        ),
        (lambda path: torch.save(torch.zeros(3), path), 'contains a Tensor; expected a dict'),
        (
            lambda path: torch.save(torch.nn.Linear(1, 1), path),
            r'was not loaded.*torch\.save\(dict\(state_dict=model\.state_dict',
        ),
        (lambda path: torch.jit.script(torch.nn.Linear(1, 1)).save(path), 'could run code'),
        (lambda path: torch.save(dict(weight=ReadsAttribute()), path), 'was not loaded'),
        (lambda path: path.mkdir(), r'No checkpoint at .*weights\.pth'),
        (lambda path: None, r'No checkpoint at .*weights\.pth'),
    ],
)
@pytest.mark.filterwarnings('ignore::FutureWarning', 'ignore:.*TorchScript:UserWarning')
def test_files_that_are_not_checkpoints(file, write, message):
    write(file)
    with pytest.raises(UsageError, match=message):
        read_checkpoint(file)


@pytest.mark.parametrize('error', [PermissionError(13, 'Permission denied'), OSError('gone')])
def test_files_that_cannot_be_read(file, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    torch.save({}, file)
    monkeypatch.setattr(torch, 'load', refuse)
    monkeypatch.setattr(type(file), 'open', refuse)
    with pytest.raises(UsageError, match=r'weights\.pth cannot be read: (Permission denied|gone)'):
        read_checkpoint(file)


def test_safetensors_that_begin_like_a_web_page(file):
    """The file begins with the length of its header: 60 is the byte ``<``."""
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(60)
    file.write_bytes(struct.pack('<Q', len(header)) + header + bytes(4))
    assert read_checkpoint(file)['w'].tolist() == [0.0]


@pytest.mark.skipif(torch.cuda.is_available(), reason='not run: there is a GPU')
def test_a_gpu_that_is_not_there(file):
    torch.save(dict(weight=torch.zeros(1)), file)
    with pytest.raises(UsageError, match=r"No GPU .*Set map_location='cpu'"):
        read_checkpoint(file, 'cuda')
