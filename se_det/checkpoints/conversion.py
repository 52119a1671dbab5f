"""Convert checkpoint files to our key layout, and inspect them."""

from io import BytesIO
from pathlib import Path

import torch
from mmdet.registry import MODELS
from torch import nn

from se_det.backbones.whole_state_dict import ADDED_BY_OPTIONS, named
from se_det.checkpoints.architecture import as_text, blocks, describe_backbone, published_as
from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.fit import check_state_dict
from se_det.checkpoints.grafting import graft_into
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.state_dicts import StateDict
from se_det.errors import UsageError
from se_det.files import write_whole

CLASSES = ('dataset_meta', 'CLASSES', 'PALETTE')  # keys of a detector's classes, mmdet 3 and 2


def convert_weights(
    source: str, destination: str, layout: str | None = None, graft: bool = False
) -> str:
    """Write a checkpoint in our layout: a backbone's weights, or a whole detector's.

    Args:
        source: a name in `ZOO`, a URL, or a file.
        destination: a new ``.pth`` file, for ``SEPretrained`` or, if it is a detector,
            ``load_from``.
        layout: name of the source's layout; by default it is inferred from the keys.
        graft: the source is plain; add SE with r = 16 that leaves the outputs as they are.

    Returns:
        A line about what was written and what was left out.

    Raises:
        UsageError: the source cannot be read, has an unknown layout, or lacks a part of the
            backbone; it is plain without ``graft``, or has SE with it; the destination exists, is
            not a ``.pth`` file or cannot be written.
    """
    if Path(destination).suffix != '.pth':
        raise UsageError(f'The destination must end in .pth; got {destination}.')
    if Path(destination).exists():
        raise UsageError(f'{destination} exists. Remove it, or choose another name.')
    found = find_backbone(read_checkpoint(fetch(source)), layout, source)
    is_plain = found.layout.name == 'plain'
    if graft and not is_plain:
        raise UsageError(f'{source} has SE already (layout: {found.layout.name}). Remove --graft.')
    if is_plain and not graft:
        raise UsageError(f'{source} has the weights of a plain ResNet. Add --graft to add SE.')
    weights, described = found.weights, f'{source} (layout: {found.layout.name})'
    backbone = describe_backbone(found, source)
    built = _without_memory(backbone, weights, described)
    optional = {key for key in weights if ADDED_BY_OPTIONS.search(key)}
    if graft:
        if plugins := [key for key in weights if key in optional and '.conv_offset.' not in key]:
            raise UsageError(
                f'{source} has layers of plugins: {named(plugins)}. Their positions are not in the '
                "file. Graft in a config instead: init_cfg=dict(type='SEPretrained', graft=True, "
                f'checkpoint={source!r}).'
            )
        weights = graft_into(built, weights)
    whole = {key: tensor for key, tensor in weights.items() if key not in optional}
    check_state_dict(built, whole, described, backbone)
    public = published_as(found, source)
    meta = dict(se_det=dict(source=public.name if public else source, backbone=backbone))
    left_out = ''
    if found.is_detector:
        weights = {**{f'backbone.{k}': v for k, v in weights.items()}, **found.beside}
        meta.update({key: found.meta[key] for key in CLASSES if key in found.meta})
    elif found.beside:
        left_out = f'; left out: {named(found.beside)}'
    content = BytesIO()
    torch.save(dict(meta=meta, state_dict=weights), content)
    write_whole(destination, content.getbuffer())
    kind = 'detector' if found.is_detector else 'backbone'
    return f'{destination}: {kind}, {len(weights)} keys, for {as_text(backbone)}{left_out}'


def inspect_weights(source: str, layout: str | None = None) -> str:
    """Describe a checkpoint, without building a model.

    Args:
        source: a name in `ZOO`, a URL, or a file.
        layout: name of its layout; by default it is inferred from the keys.

    Returns:
        Lines of text.

    Raises:
        UsageError: it cannot be read, or has an unknown layout.
    """
    path = fetch(source)
    found = find_backbone(read_checkpoint(path), layout, source)
    public = published_as(found, source)
    parameters = [w for w in found.weights.values() if w.is_floating_point()]
    beside = sorted({key.partition('.')[0] for key in found.beside}) or ['nothing']
    lines = {
        'file': str(path),
        'layout': found.layout.name + (f', prefix {found.prefix!r}' if found.prefix else ''),
        'backbone': as_text(describe_backbone(found, source)),
        'SE': 'no; --graft adds it' if found.layout.name == 'plain' else 'yes',
        'weights': f'{len(found.weights)} keys, {sum(w.numel() for w in parameters) / 1e6:.2f} M '
        f'values, {", ".join(sorted({str(w.dtype).removeprefix("torch.") for w in parameters}))}',
        'also in it': ', '.join(beside),
    }
    if public is not None:
        lines['published as'] = f'{public.name}, {public.licence}, {public.source}'
        lines['top-1'] = f'{public.top1} %, {public.recipe} recipe'
        lines['images'] = as_text(public.data_preprocessor)
    return '\n'.join(f'{name + ":":<14}{value}' for name, value in lines.items())


def _without_memory(backbone: dict, weights: StateDict, source: str) -> nn.Module:
    """Build the backbone that weights are of, on the meta device."""
    if 'depth' not in backbone:
        raise UsageError(
            f'{source} does not have the blocks of a ResNet with 18, 34, 50, 101 or 152 layers.'
        )
    first = weights.get('conv1.weight', weights.get('stem.0.weight'))
    stages = max(int(block[len('layer')]) for block in blocks(weights))
    is_gn = 'layer1.0.gn1.weight' in weights
    with torch.device('meta'):
        return MODELS.build(
            dict(
                backbone,
                in_channels=3 if first is None else first.shape[1],
                norm_cfg=dict(type='GN', num_groups=1) if is_gn else dict(type='BN'),
                num_stages=stages,
                strides=(1, 2, 2, 2)[:stages],
                dilations=(1,) * stages,
                out_indices=(0,),
            )
        )
