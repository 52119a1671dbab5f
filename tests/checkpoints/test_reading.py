import os
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from se_det.checkpoints import read_checkpoint
from se_det.errors import UsageError


class RunsCommand:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class ReadsAttribute:
    """Unpickling this calls getattr on something that is no training log."""

    def __reduce__(self):
        return getattr, (torch.nn.Linear, 'forward')


def test_weights_and_training_state_come_back(tmp_path):
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


@pytest.mark.parametrize('read', [read_checkpoint, CheckpointLoader.load_checkpoint])
def test_code_in_a_file_is_refused_and_does_not_run(tmp_path, read):
    torch.save(dict(weight=RunsCommand(tmp_path / 'trace')), tmp_path / 'evil.pth')
    with pytest.raises(UsageError, match=r'evil\.pth was not loaded.*could run code'):
        read(str(tmp_path / 'evil.pth'))
    assert not (tmp_path / 'trace').exists()


def test_getattr_is_allowed_for_training_logs_alone(tmp_path):
    torch.save(dict(weight=ReadsAttribute()), tmp_path / 'evil.pth')
    with pytest.raises(UsageError, match='was not loaded'):
        read_checkpoint(tmp_path / 'evil.pth')


def _truncated(path):
    torch.save(dict(weight=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:2000])


def _zip_of_something_else(path):
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('readme.txt', 'hello')


@pytest.mark.parametrize(
    'write',
    [
        _truncated,
        _zip_of_something_else,
        lambda path: path.write_bytes(b''),
        lambda path: path.write_text('<!DOCTYPE html><html>Not found</html>'),
    ],
    ids=['truncated', 'zip', 'empty', 'html'],
)
def test_what_is_no_checkpoint_is_named(tmp_path, write):
    write(tmp_path / 'weights.pth')
    with pytest.raises(UsageError, match=r'weights\.pth .*(damaged|no torch checkpoint)'):
        read_checkpoint(tmp_path / 'weights.pth')


def test_missing_file(tmp_path):
    with pytest.raises(UsageError, match=r'No checkpoint at .*gone\.pth'):
        read_checkpoint(tmp_path / 'gone.pth')
