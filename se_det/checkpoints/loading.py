"""Pretrained weights into an SE backbone, all of them or an error."""

import re
from pathlib import Path
from urllib.error import URLError

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging import print_log
from mmengine.model.weight_init import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from se_det.checkpoints.layouts import StateDict, to_ours
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import ZOO
from se_det.errors import UsageError

# Modules that mmdet adds to a ResNet on request, and that no ImageNet file has weights for.
ADDED_BY_OPTIONS = re.compile(r'\.conv_offset\.|_block\.|attention|\.plugin')
NAMED = 5  # keys that an error message names


@WEIGHT_INITIALIZERS.register_module()
class SEPretrained:
    """Initialise a backbone with public SE weights: ``init_cfg=dict(type='SEPretrained', ...)``.

    Unlike mmengine's ``Pretrained``, it knows the layouts of the public files, and takes no file
    that does not fit: no weight of the backbone is left to chance.

    Args:
        checkpoint: a name in `ZOO`, such as ``'mmpretrain/se_resnet50'``, a URL, or a file.

    Raises:
        UsageError: on loading: the file cannot be had or read, or does not fit the backbone.
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into ``module``."""
        weights, layout = to_ours(read_checkpoint(fetch(self.checkpoint)))
        _check_fit(module, weights, f'{self.checkpoint} (layout: {layout.name})')
        module.load_state_dict(weights, strict=False)
        print_log(
            f'Loaded {len(weights)} of {len(weights)} backbone weights from {self.checkpoint} '
            f'(layout: {layout.name}, its classifier left out)',
            logger='current',
        )
        for child in module.children():  # or mmengine would initialise them after us
            child.is_init = True
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'SEPretrained: {self.checkpoint}')


def fetch(checkpoint: str) -> Path:
    """Find a checkpoint's file, downloading it once into torch's hub cache if it has a URL.

    Args:
        checkpoint: a name in `ZOO`, a URL, or a file.

    Raises:
        UsageError: the name is unknown, the download failed, or its hash is not the published one.
    """
    public = ZOO.get(checkpoint)
    if public is None and '://' not in checkpoint:
        if Path(checkpoint).expanduser().exists():
            return Path(checkpoint)
        raise UsageError(f'No weights {checkpoint!r}: neither a file nor one of {", ".join(ZOO)}.')
    url = public.url if public else checkpoint
    path = Path(torch.hub.get_dir(), 'checkpoints', url.rpartition('/')[2])
    if get_local_rank() == 0 and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        print_log(f'Downloading {url} to {path}', logger='current')
        try:
            torch.hub.download_url_to_file(url, str(path), public and public.sha256_head)
        except (URLError, OSError, RuntimeError) as error:
            raise UsageError(
                f'{url} could not be downloaded: {error}. Download it where there is a network '
                f'and put it at {path}, or train without pretrained weights: '
                '--cfg-options model.backbone.init_cfg=None'
            ) from error
    barrier()
    return path


def _check_fit(module: nn.Module, weights: StateDict, source: str) -> None:
    expected = module.state_dict()
    missing = [k for k in expected if k not in weights and not ADDED_BY_OPTIONS.search(k)]
    unexpected = [key for key in weights if key not in expected]
    misshapen = [
        f'{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}'
        for key in weights
        if key in expected and weights[key].shape != expected[key].shape
    ]
    problems = [
        f'{len(keys)} {what}: {", ".join(keys[:NAMED])}{", ..." if len(keys) > NAMED else ""}'
        for what, keys in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', misshapen),
        )
        if keys
    ]
    if problems:
        raise UsageError(
            f'The weights of {source} do not fit {type(module).__name__}: {"; ".join(problems)}. '
            'Check depth, groups, base_width, deep_stem, avg_down and se_cfg of the backbone.'
        )
