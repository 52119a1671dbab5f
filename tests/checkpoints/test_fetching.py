import hashlib
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader

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
    """Let torch's hub download some bytes instead of what is at a URL."""
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


def test_a_download_is_kept(cache, serve, checkpoint):
    urls = serve(checkpoint)
    path = fetch(URL)
    assert path == cache / 'weights.pth'
    assert path.read_bytes() == checkpoint
    assert fetch(URL) == path
    assert urls == [URL]
    assert list(cache.iterdir()) == [path]


def test_a_hash_in_the_name_is_checked(cache, serve, checkpoint):
    serve(checkpoint)
    name = f'weights-{hashlib.sha256(checkpoint).hexdigest()[:8]}.pth'
    assert fetch(f'https://example.org/{name}') == cache / name


@pytest.mark.parametrize('name', ['mmpretrain/se_resnet50', 'https://a.org/net-01234567.pth'])
def test_a_wrong_hash_leaves_nothing_in_the_cache(cache, serve, checkpoint, name):
    serve(checkpoint)
    with pytest.raises(UsageError, match=r'could not be downloaded: invalid hash value'):
        fetch(name)
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda content: b'<!DOCTYPE html><html>Sign in</html>', 'what came is a web page'),
        (lambda content: content[:2000], 'what came is damaged'),
        (lambda content: b'', 'what came is damaged'),
    ],
    ids=['html', 'truncated', 'empty'],
)
def test_what_is_no_checkpoint_leaves_nothing_in_the_cache(
    cache, serve, checkpoint, change, message
):
    serve(change(checkpoint))
    with pytest.raises(UsageError, match=rf'example\.org.* is of no use: {message}'):
        fetch(URL)
    assert not list(cache.iterdir())


def test_no_network_says_what_to_do(cache, monkeypatch):
    def urlopen(*args, **kwargs):
        raise OSError('Network is unreachable')

    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    with pytest.raises(UsageError, match=r'Network is unreachable.*put it at .*ae206104\.pth'):
        fetch('mmpretrain/se_resnet50')
    assert not list(cache.iterdir())


@pytest.mark.parametrize(
    ('name', 'url'),
    [
        ('torchvision://resnet50', 'https://download.pytorch.org/models/resnet50-'),
        ('open-mmlab://resnext101_32x4d', 'https://download.openmmlab.com/pretrain/'),
    ],
)
def test_mmengines_names_are_known(cache, serve, checkpoint, name, url):
    urls = serve(checkpoint)
    with pytest.raises(UsageError, match='invalid hash value'):
        fetch(name)
    assert urls[0].startswith(url)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('se_resnet50', r"No weights 'se_resnet50'.*mmpretrain/se_resnet101"),
        ('torchvision://resnet51', 'Check the name'),
        ('ftp://example.org/weights.pth', 'only http://'),
    ],
)
def test_an_unknown_name(name, message):
    with pytest.raises(UsageError, match=message):
        fetch(name)


def test_mmengine_reads_urls_the_same_way(cache, serve, checkpoint):
    serve(checkpoint)
    weights = CheckpointLoader.load_checkpoint(URL, map_location='cpu')
    assert torch.equal(weights['weight'], torch.zeros(1000))
    assert Path(cache / 'weights.pth').exists()
