"""Find checkpoint files by name, URL or path; download them once and check their hashes."""

import hashlib
import os
import re
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import all_gather_object, is_distributed
from mmengine.logging import MMLogger
from mmengine.runner.checkpoint import (
    get_deprecated_model_names,
    get_external_models,
    get_mmcls_models,
    get_torchvision_models,
)

from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO
from se_det.errors import UsageError

# mmengine's lists of names, by scheme.
LISTS = {
    'torchvision': get_torchvision_models,
    'modelzoo': get_torchvision_models,
    'open-mmlab': get_external_models,
    'openmmlab': get_external_models,
    'mmcls': get_mmcls_models,
}
SCHEMES = ('http://', 'https://', *(f'{scheme}://' for scheme in LISTS))
# Names of these files end in the first hex digits of their sha256: resnet50-0676ba61.pth.
HASHED = (*(weights.url for weights in ZOO.values()), 'https://download.pytorch.org/models/')
HASH = re.compile(r'-([0-9a-f]{8,64})\.pth$')


def fetch(checkpoint: str) -> Path:
    """Find a checkpoint's file. A URL is downloaded once, into torch's hub cache.

    Of several processes, one per machine downloads; all of them must call this function. A file
    that another program put into the cache is checked at its first use.

    Args:
        checkpoint: a name in `ZOO`, a URL, mmengine's ``torchvision://``, ``open-mmlab://`` or
            ``mmcls://`` and a name, or a file.

    Raises:
        UsageError: the name is unknown, the download failed, its hash differs from the one in its
            name, or it is not a checkpoint. A failed download leaves no file in the cache. If one
            process fails, all do.
    """
    if checkpoint not in ZOO and '://' not in checkpoint:
        path = Path(checkpoint).expanduser()
        if not path.exists():
            raise UsageError(
                f'No weights {checkpoint!r}: neither a file nor one of {", ".join(ZOO)}.'
            )
        return path
    url = _url(checkpoint)
    path = Path(torch.hub.get_dir(), 'checkpoints', _cached_name(url))
    failure = None
    if not is_distributed() or os.environ.get('LOCAL_RANK', '0') == '0':
        try:
            if not path.exists():
                _download(url, path)
            _check_hash(url, path)
        except (UsageError, OSError) as error:
            failure = str(error)
    for message in filter(None, all_gather_object(failure)):
        raise UsageError(message)
    return path


def _url(checkpoint: str) -> str:
    """The URL of a name in `ZOO` or in mmengine's lists; a URL is returned as it is."""
    if checkpoint in ZOO:
        return ZOO[checkpoint].url
    scheme, _, name = checkpoint.partition('://')
    if scheme in ('http', 'https'):
        return checkpoint
    if scheme not in LISTS:
        known = ', '.join(SCHEMES)
        raise UsageError(f'{checkpoint}: download it and name the file. Known schemes: {known}.')
    urls = LISTS[scheme]()
    name = get_deprecated_model_names().get(name, name)
    if name not in urls:
        raise UsageError(f'{checkpoint}: mmengine has no {name!r} at {scheme}://. Check the name.')
    return urls[name]


def _expected_hash(url: str) -> str | None:
    """The first hex digits of the file's sha256, if its publisher puts them into its name."""
    found = HASH.search(url) if url.startswith(HASHED) else None
    return found and found[1]


def _cached_name(url: str) -> str:
    """The file's name in the cache; without a hash in it, a hash of the URL is added."""
    name = unquote(urlsplit(url).path).rpartition('/')[2]
    if _expected_hash(url):
        return name
    stem, suffix = os.path.splitext(name)
    return f'{stem}.{hashlib.sha256(url.encode()).hexdigest()[:8]}{suffix}'


def _download(url: str, path: Path) -> None:
    """Download a file under a temporary name, check it, then rename it to ``path``."""
    MMLogger.get_current_instance().info(f'Downloading {url} to {path}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent) as folder:
            downloaded = Path(folder, path.name)
            torch.hub.download_url_to_file(url, str(downloaded), _expected_hash(url))
            try:
                read_checkpoint(downloaded)
            except UsageError as error:
                reason = str(error).replace(str(downloaded), 'the download')
                raise UsageError(f'{url} cannot be used: {reason}') from error
            os.replace(downloaded, path)
    except UsageError:
        raise
    except (OSError, RuntimeError, ValueError, HTTPException) as error:
        raise UsageError(
            f'{url} could not be downloaded: {error}. Download it where there is a network and '
            f'copy it to {path}, or train without pretrained weights, with nothing frozen: '
            'init_cfg=None, frozen_stages=-1, norm_eval=False in the backbone. As options: '
            '--cfg-options model.backbone.init_cfg=None model.backbone.frozen_stages=-1 '
            'model.backbone.norm_eval=False'
        ) from error


def _check_hash(url: str, path: Path) -> None:
    """Check a file against the hash in its URL. A file beside it records that this was done."""
    expected = _expected_hash(url)
    checked = path.with_name(f'{path.name}.sha256')
    if not expected or (checked.exists() and checked.stat().st_mtime >= path.stat().st_mtime):
        return
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(expected):
        raise UsageError(
            f'{path} is damaged or another file: its sha256 begins with {digest[:8]}, not '
            f'{expected}. Remove it, and it is downloaded again.'
        )
    with suppress(OSError):  # in a read-only cache, the file is checked at each use
        checked.write_text(digest)
