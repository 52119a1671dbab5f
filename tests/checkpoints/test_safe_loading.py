"""mmengine loads safely while a tool runs, and as ever before and after."""

import pytest
import torch
from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader

from se_det.checkpoints import fetching
from se_det.checkpoints.safe_loading import safe_loading
from se_det.errors import UsageError

from .test_reading import RunsCommand


def test_code_in_a_file_does_not_run(tmp_path):
    trace, file = tmp_path / 'trace', str(tmp_path / 'evil.pth')
    torch.save(dict(state_dict=dict(weight=RunsCommand(trace))), file)
    with safe_loading():
        for load in (CheckpointLoader.load_checkpoint, _initialise_from):
            with pytest.raises(UsageError, match='could run code'):
                load(file)
    assert not trace.exists()


def _initialise_from(file):
    PretrainedInit(file)(torch.nn.Linear(1, 1))


def test_urls_come_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    weights = {'backbone.conv1.weight': torch.zeros(1)}
    torch.save(dict(state_dict=weights), tmp_path / 'net.pth')
    urlopen = torch.hub.urlopen
    monkeypatch.setattr(torch.hub, 'urlopen', lambda *args, **kwargs: urlopen(served))
    (tmp_path / 'net.pth').rename(tmp_path / 'mmcls_net.pth')
    monkeypatch.chdir(tmp_path)
    served = (tmp_path / 'mmcls_net.pth').as_uri()
    with safe_loading():
        file = CheckpointLoader.load_checkpoint('mmcls_net.pth')
        read = CheckpointLoader.load_checkpoint('https://example.org/net.pth')
        monkeypatch.setitem(fetching.LISTS, 'mmcls', lambda: {'net': 'https://example.org/net.pth'})
        backbone = CheckpointLoader.load_checkpoint('mmcls://net')
    assert list(file['state_dict']) == list(read['state_dict']) == list(weights)
    assert list(backbone['state_dict']) == ['conv1.weight']
    assert list((tmp_path / 'hub' / 'checkpoints').iterdir())


def test_mmengines_own_loaders_are_left_as_they_were(tmp_path):
    before = dict(CheckpointLoader._schemes)
    with safe_loading():
        changed = {key for key in before if CheckpointLoader._schemes[key] is not before[key]}
    assert {'', 'https://'} <= changed
    assert all('s3' not in key and 'petrel' not in key for key in changed)
    assert dict(CheckpointLoader._schemes) == before
    assert all(loader.__module__ == 'mmengine.runner.checkpoint' for loader in before.values())
    torch.save([torch.ones(1)], tmp_path / 'list.pth')
    assert CheckpointLoader.load_checkpoint(str(tmp_path / 'list.pth'))[0] == 1
