"""The key layouts of SE-ResNet checkpoint files, and the way from each to ours.

Our keys are timm's: ``layer1.0.se.fc1.weight`` and so on.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from se_det.errors import UsageError

StateDict = dict[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """How one family of files names its keys.

    Attributes:
        name: the family.
        sign: a regular expression that a key of this family matches, and of no other.
        renamed: pairs of a regular expression and its replacement, applied to each key.
        classifier: prefix of the classifier's keys, which a backbone does without.
    """

    name: str
    sign: str
    renamed: tuple[tuple[str, str], ...]
    classifier: str


LAYOUTS = (
    Layout('timm', r'\.se\.fc1\.', (), 'fc.'),
    Layout(
        'legacy',
        r'\.se_module\.fc1\.',
        ((r'^layer0\.', ''), (r'\.se_module\.', '.se.')),
        'last_linear.',
    ),
    Layout(
        'mmpretrain',
        r'\.se_layer\.conv1\.',
        ((r'\.se_layer\.conv([12])\.(conv\.)?', r'.se.fc\1.'),),
        'head.',
    ),
    Layout(
        'bias-free',
        r'\.se\.fc\.0\.',
        ((r'\.se\.fc\.0\.', '.se.fc1.'), (r'\.se\.fc\.2\.', '.se.fc2.')),
        'fc.',
    ),
)


def to_ours(checkpoint: dict) -> tuple[StateDict, Layout]:
    """Find the backbone's weights in a checkpoint and give them our keys.

    Wrappers are seen through (``state_dict``, ``model``, DataParallel's ``module.``), a
    classifier's head and, where there is a ``backbone.``, all beside it are left out.

    Args:
        checkpoint: what a file holds.

    Returns:
        The backbone's weights, and the layout that they had.

    Raises:
        UsageError: the keys are of no known layout.
    """
    weights = _unwrap(checkpoint)
    if any(key.startswith('backbone.') for key in weights):
        weights = _below(weights, 'backbone.')
    found = [layout for layout in LAYOUTS if any(re.search(layout.sign, key) for key in weights)]
    if len(found) != 1:
        known = ', '.join(layout.name for layout in LAYOUTS)
        raise UsageError(
            f'These are not the weights of an SE-ResNet or SE-ResNeXt in a known layout ({known}). '
            f'Their first keys: {", ".join(list(weights)[:5])}'
        )
    (layout,) = found
    return {
        _rename(key, layout): _as_convolution(key, tensor)
        for key, tensor in _with_biases(weights, layout).items()
        if not key.startswith(layout.classifier)
    }, layout


def _unwrap(checkpoint: dict) -> StateDict:
    for wrapper in ('state_dict', 'model', 'net'):
        if isinstance(checkpoint.get(wrapper), dict):
            return _unwrap(checkpoint[wrapper])
    weights = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
    if weights and all(key.startswith('module.') for key in weights):
        weights = _below(weights, 'module.')
    return weights


def _below(weights: StateDict, prefix: str) -> StateDict:
    return {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}


def _rename(key: str, layout: Layout) -> str:
    for pattern, replacement in layout.renamed:
        key = re.sub(pattern, replacement, key)
    return key


def _as_convolution(key: str, tensor: Tensor) -> Tensor:
    """Linear layers of a gate ``(O, I)`` are our 1x1 convolutions ``(O, I, 1, 1)``."""
    in_gate = re.search(r'\.se(_module|_layer)?\.', key)
    return tensor[:, :, None, None] if in_gate and tensor.ndim == 2 else tensor


def _with_biases(weights: StateDict, layout: Layout) -> StateDict:
    """Bias-free gates get biases of zero."""
    if layout.name != 'bias-free':
        return weights
    biases = {
        key.removesuffix('weight') + 'bias': torch.zeros(len(tensor))
        for key, tensor in weights.items()
        if re.search(r'\.se\.fc\.[02]\.weight$', key)
    }
    return {**weights, **biases}
