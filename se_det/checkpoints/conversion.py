"""Checkpoint files of any layout written in ours, and told what they are."""

from pathlib import Path

import torch

from se_det.checkpoints.architecture import as_text, describe_backbone
from se_det.checkpoints.fetching import fetch
from se_det.checkpoints.grafting import graft as graft_se
from se_det.checkpoints.grafting import hidden_channels_of_all
from se_det.checkpoints.layouts import find_backbone
from se_det.checkpoints.reading import read_checkpoint
from se_det.checkpoints.zoo import public_weights
from se_det.errors import UsageError
from se_det.layers import DEFAULT_REDUCTION


def convert_weights(
    source: str, destination: str, layout: str | None = None, graft: bool = False
) -> str:
    """Write a checkpoint in our layout: a backbone's weights, or a whole detector's.

    Args:
        source: a name in `ZOO`, a URL, or a file.
        destination: a new ``.pth`` file, for ``SEPretrained`` and, of a detector, ``load_from``.
        layout: name of the source's layout, if it is not to be recognised.
        graft: the source is plain; give it SE that does nothing yet, with the usual reduction.

    Returns:
        What was written, in a line.

    Raises:
        UsageError: the source cannot be read, is of no known layout, or has SE already when it is
            to be grafted; the destination exists or is not a ``.pth`` file.
    """
    if Path(destination).suffix != '.pth':
        raise UsageError(f'The destination must end in .pth; got {destination}.')
    if Path(destination).exists():
        raise UsageError(f'{destination} exists. Remove it, or choose another name.')
    found = find_backbone(read_checkpoint(fetch(source)), layout)
    is_plain = found.layout.name == 'plain'
    if graft and not is_plain:
        raise UsageError(f'{source} has SE already (layout: {found.layout.name}). Remove --graft.')
    backbone, weights = describe_backbone(found, public_weights(source)), found.weights
    if graft:
        weights = graft_se(weights, hidden_channels_of_all(weights, DEFAULT_REDUCTION))
    if found.is_detector:
        weights = {**{f'backbone.{k}': v for k, v in weights.items()}, **found.beside}
    meta = dict(se_det=dict(source=source, backbone=backbone))
    Path(destination).parent.mkdir(parents=True, exist_ok=True)
    partial = Path(f'{destination}.partial')
    try:
        torch.save(dict(meta=meta, state_dict=weights), partial)
        partial.rename(destination)
    finally:
        partial.unlink(missing_ok=True)
    kind = 'detector' if found.is_detector else 'backbone'
    return f'{destination}: {kind}, {len(weights)} keys, for {as_text(backbone)}'


def inspect_weights(source: str, layout: str | None = None) -> str:
    """Tell what a checkpoint is, without building a model.

    Args:
        source: a name in `ZOO`, a URL, or a file.
        layout: name of its layout, if it is not to be recognised.

    Returns:
        Some lines of text.

    Raises:
        UsageError: it cannot be read, or is of no known layout.
    """
    path = fetch(source)
    found = find_backbone(read_checkpoint(path), layout)
    public = public_weights(source)
    parameters = [w for w in found.weights.values() if w.is_floating_point()]
    beside = sorted({key.partition('.')[0] for key in found.beside}) or ['nothing']
    lines = {
        'file': str(path),
        'layout': found.layout.name + (f', behind {found.prefix!r}' if found.prefix else ''),
        'backbone': as_text(describe_backbone(found, public)),
        'SE': 'no; --graft adds it' if found.layout.name == 'plain' else 'yes',
        'weights': f'{len(found.weights)} keys, {sum(w.numel() for w in parameters) / 1e6:.2f} M '
        f'values, {", ".join(sorted({str(w.dtype).removeprefix("torch.") for w in parameters}))}',
        'beside it': ', '.join(beside),
    }
    if public is not None:
        lines['published as'] = f'{public.name}, {public.licence}, {public.source}'
        lines['top-1'] = f'{public.top1} %, {public.recipe} recipe'
        lines['images'] = as_text(public.data_preprocessor)
    return '\n'.join(f'{name + ":":<14}{value}' for name, value in lines.items())
