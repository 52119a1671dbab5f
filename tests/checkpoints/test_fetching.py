import hashlib
import re
from contextlib import suppress
from http.client import IncompleteRead, InvalidURL
from pathlib import Path

import pytest
import torch

from se_det.checkpoints.fetching import fetch
from se_det.errors import UsageError

URL = 'https://example.org/weights.pth?download=true'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of downloads."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    return tmp_path / 'torch' / 'hub' / 'checkpoints'


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Let torch's hub download given bytes from any URL."""
    urls = []

    def serve_bytes(content):
        def urlopen(request, *args, **kwargs):
            urls.append(request.full_url)
            (tmp_path / 'served').write_bytes(content)
            return original((tmp_path / 'served').as_uri())

        original = torch.hub.urlopen
        monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
        return urls

    return serve_bytes


@pytest.fixture
def checkpoint(tmp_path):
    """The bytes of a checkpoint."""
    torch.save(dict(weight=torch.zeros(1000)), tmp_path / 'good.pth')
    return (tmp_path / 'good.pth').read_bytes()


def test_a_file_is_downloaded_once(cache, serve, checkpoint):
    urls = serve(checkpoint)
    path = fetch(URL)
    assert path.parent == cache and path.suffix == '.pth'
    assert path.read_bytes() == checkpoint
    assert fetch(URL) == path
    assert urls == [URL]
    assert list(cache.iterdir()) == [path]


@pytest.mark.parametrize(
    'files', [('a/model', 'b/model'), ('fast-20200130',), ('model-00100000',), ('run-1a2b3c4d5e',)]
)
def test_names_of_others_are_told_apart_and_have_no_hash(cache, serve, checkpoint, files):
    requests = serve(checkpoint)
    urls = [f'https://example.org/{name}.pth' for name in files]
    paths = {fetch(url) for url in urls}
    assert len(paths) == len(files) and requests == urls
    assert all(path.read_bytes() == checkpoint for path in paths)


TORCHVISION = 'https://download.pytorch.org/models'


def test_the_hash_in_a_name_of_torchvision_is_checked_once(cache, serve, checkpoint, monkeypatch):
    serve(checkpoint)
    name = f'weights-{hashlib.sha256(checkpoint).hexdigest()[:8]}.pth'
    assert fetch(f'{TORCHVISION}/{name}') == cache / name
    (cache / f'{name}.sha256').unlink()
    (cache / name).write_bytes(checkpoint[:-1])  # put there by hand
    with pytest.raises(UsageError, match=rf'{name} is damaged or another file.*Remove it'):
        fetch(f'{TORCHVISION}/{name}')
    (cache / name).write_bytes(checkpoint)
    assert fetch(f'{TORCHVISION}/{name}') == cache / name
    monkeypatch.setattr(Path, 'read_bytes', None)
    assert fetch(f'{TORCHVISION}/{name}') == cache / name


@pytest.mark.parametrize('name', ['mmpretrain/se_resnet50', f'{TORCHVISION}/net-01234567.pth'])
def test_a_wrong_hash_leaves_nothing_in_the_cache(cache, serve, checkpoint, name):
    serve(checkpoint)
    with pytest.raises(UsageError, match=r'could not be downloaded: invalid hash value'):
        fetch(name)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: b'<!DOCTYPE html><html>Sign in</html>', 'the download is a web page'),
        (lambda content: content[:2000], 'the download is damaged'),
        (lambda content: b'', 'the download is damaged'),
    ],
    ids=['html', 'truncated', 'empty'],
)
def test_a_download_that_is_not_a_checkpoint_leaves_nothing_in_the_cache(
    cache, serve, checkpoint, change, message
):
    serve(change(checkpoint))
    with pytest.raises(UsageError, match=rf'example\.org.* cannot be used: {message}'):
        fetch(URL)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    'error',
    [
        OSError('Network is unreachable'),
        IncompleteRead(b'Network is unreachable'),
        InvalidURL('Network is unreachable'),
    ],
    ids=['no network', 'cut off', 'wrong URL'],
)
def test_the_error_without_a_network(cache, monkeypatch, error):
    def urlopen(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    with pytest.raises(UsageError, match=r'copy it to .*ae206104\.pth, .*frozen_stages=-1'):
        fetch('mmpretrain/se_resnet50')
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ('name', 'url'),
    [
        ('torchvision://resnet50', 'https://download.pytorch.org/models/resnet50-'),
        ('modelzoo://resnet50', 'https://download.pytorch.org/models/resnet50-'),
        ('mmcls://se-resnet50', 'https://download.openmmlab.com/mmclassification/v0/se-resnet/'),
        ('open-mmlab://resnext101_32x4d', 'https://download.openmmlab.com/pretrain/'),
    ],
)
def test_mmengines_names(cache, serve, checkpoint, name, url):
    urls = serve(checkpoint)
    with suppress(UsageError):  # the hash differs
        fetch(name)
    assert urls[0].startswith(url)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('se_resnet50', r"No weights 'se_resnet50'.*mmpretrain/se_resnet101"),
        ('torchvision://resnet51', 'Check the name'),
        ('ftp://example.org/weights.pth', 'download it and name the file'),
        ('s3://bucket/weights.pth', 'download it and name the file'),
    ],
)
def test_an_unknown_name(name, message):
    with pytest.raises(UsageError, match=message):
        fetch(name)


PROCESS = """
import os
import sys
import torch

import se_det
from se_det.checkpoints.fetching import fetch
from se_det.errors import UsageError

served, requests, store, rank = sys.argv[1:]
os.environ['LOCAL_RANK'] = rank
torch.distributed.init_process_group('gloo', store, rank=int(rank), world_size=2)
original = torch.hub.urlopen

def urlopen(request, *args, **kwargs):
    with open(requests, 'a') as file:
        file.write(f'{request.full_url}\\n')
    return original(f'{served}/{request.full_url.rpartition("/")[2]}')

torch.hub.urlopen = urlopen
for name in ('good.pth', 'good.pth', 'gone.pth', 'gone.pth'):
    try:
        print(fetch(f'https://example.org/{name}').name)
    except UsageError as error:
        print('UsageError:', error)
torch.distributed.destroy_process_group()
"""


def test_one_of_two_processes_downloads_for_both(cache, tmp_path, checkpoint, run_python):
    requests, store = tmp_path / 'requests', (tmp_path / 'store').as_uri()
    program = ['-c', PROCESS, tmp_path.as_uri(), requests, store]
    found, failed = r'good\.\w{8}\.pth', r'UsageError: .* could not be downloaded: .*'
    for process in run_python([*program, 0], [*program, 1]):
        assert process.returncode == 0, process.stderr
        lines = [line for line in process.stdout.splitlines() if re.match('good|UsageError', line)]
        for line, expected in zip(lines, (found, found, failed, failed), strict=True):
            assert re.fullmatch(expected, line), line
    urls = [f'https://example.org/{name}.pth' for name in ('good', 'gone', 'gone')]
    assert requests.read_text().splitlines() == urls
