"""Checkpoint files by name, URL or path: downloaded once, checked before they are kept."""

import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging import print_log
from mmengine.runner.checkpoint import (
    CheckpointLoader,
    get_deprecated_model_names,
    get_external_models,
    get_torchvision_models,
)

from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO
from se_det.errors import UsageError

SCHEMES = ('http://', 'https://', 'torchvision://', 'open-mmlab://', 'openmmlab://')


def fetch(checkpoint: str) -> Path:
    """Find a checkpoint's file, downloading it once into torch's hub cache if it has a URL.

    Args:
        checkpoint: a name in `ZOO`, a URL, mmengine's ``torchvision://`` or ``open-mmlab://`` and
            a name, or a file.

    Raises:
        UsageError: the name is unknown, the download failed, its hash is not the one in its name,
            or what came is no checkpoint. Nothing is left in the cache then.
    """
    if checkpoint not in ZOO and '://' not in checkpoint:
        path = Path(checkpoint).expanduser()
        if not path.exists():
            raise UsageError(
                f'No weights {checkpoint!r}: neither a file nor one of {", ".join(ZOO)}.'
            )
        return path
    url = _url(checkpoint)
    name = unquote(urlsplit(url).path).rpartition('/')[2]
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print_log(f'Downloading {url} to {path}', logger='current')
        with TemporaryDirectory(dir=path.parent) as folder:
            downloaded = Path(folder, name)
            _download(url, downloaded, path)
            try:
                read_checkpoint(downloaded)
            except UsageError as error:
                reason = str(error).replace(str(downloaded), 'what came')
                raise UsageError(f'{url} is of no use: {reason}') from error
            os.replace(downloaded, path)
    barrier()
    return path


@CheckpointLoader.register_scheme(prefixes=SCHEMES, force=True)
def load_from_url(filename: str, map_location: Any = None) -> dict:
    """How mmengine reads what ``load_from`` gives it the URL of: no code in it runs."""
    return read_checkpoint(fetch(filename), map_location)


def _url(checkpoint: str) -> str:
    """The URL of a name in `ZOO` or in mmengine's lists; a URL is its own."""
    if checkpoint in ZOO:
        return ZOO[checkpoint].url
    scheme, _, name = checkpoint.partition('://')
    if scheme in ('http', 'https'):
        return checkpoint
    if scheme == 'torchvision':
        urls = get_torchvision_models()
    elif scheme in ('open-mmlab', 'openmmlab'):
        urls = get_external_models()
        name = get_deprecated_model_names().get(name, name)
    else:
        raise UsageError(f'{checkpoint}: only {", ".join(SCHEMES)} are known here.')
    if name not in urls:
        raise UsageError(
            f'{checkpoint}: mmengine knows no {name!r} at {scheme}://. Check the name.'
        )
    return urls[name]


def _download(url: str, destination: Path, kept_at: Path) -> None:
    hash_in_name = re.search(r'-([0-9a-f]{8,64})\.(?:pth|pt|safetensors)$', destination.name)
    try:
        torch.hub.download_url_to_file(url, str(destination), hash_in_name and hash_in_name[1])
    except (URLError, OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f'{url} could not be downloaded: {error}. Download it where there is a network and put '
            f'it at {kept_at}, or train without pretrained weights: '
            '--cfg-options model.backbone.init_cfg=None'
        ) from error
