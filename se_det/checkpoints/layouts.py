"""The key layouts of ResNet and SE-ResNet files, and renaming the keys of each to ours.

Our keys are timm's: ``layer1.0.se.fc1.weight`` and so on.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch

from se_det.backbones.whole_state_dict import named
from se_det.checkpoints.state_dicts import StateDict, find_weights, metadata
from se_det.errors import UsageError

FIRST_BLOCK = 'layer1.0.conv1.weight'  # a key of every layout, after some prefix
# Caffe2's ResNets have this bias. mmdet's do not: batch norm follows, and makes it redundant.
CAFFE2_BIAS = 'conv1.bias'
GATE = re.compile(r'\.se(_\w+)?\.')  # in the keys of any kind of channel attention


@dataclass(frozen=True)
class Layout:
    """The keys of one family of files.

    Attributes:
        name: the family.
        sign: a regular expression that only keys of this family match; empty for ResNets without
            SE.
        renamed: pairs of a regular expression and its replacement, applied to each key.
        classifier: prefix of the classifier's keys, which are not part of a backbone.
    """

    name: str
    sign: str
    renamed: tuple[tuple[str, str], ...] = ()
    classifier: str = 'fc.'


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout('timm', r'\.se\.fc1\.'),
        Layout('eca', r'\.se\.conv\.weight'),
        Layout('ese', r'\.se\.fc\.weight'),
        Layout('gc', r'\.se\.(conv_attn|mlp_\w+)\.'),
        Layout('cbam', r'\.se\.(channel|spatial)\.'),
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
        ),
        Layout('plain', ''),
    )
}


@dataclass(frozen=True)
class Found:
    """The contents of a checkpoint.

    Attributes:
        weights: of the backbone, with our keys.
        layout: the layout of the keys in the file.
        prefix: prefix of the backbone's keys in the file, such as ``'backbone.'``.
        beside: the other weights of the same model: a classifier's head, or a detector's neck and
            heads with their own keys.
        meta: metadata of the training program or of `tools/convert_weights.py`.
    """

    weights: StateDict
    layout: Layout
    prefix: str
    beside: StateDict
    meta: dict[str, Any]

    @property
    def converted_from(self) -> dict[str, Any]:
        """The metadata of `tools/convert_weights.py`; empty for files of other programs."""
        described = self.meta.get('se_det')
        return described if isinstance(described, dict) else {}

    @property
    def is_detector(self) -> bool:
        """Whether there are other weights than the backbone and a classifier's head."""
        heads = (CAFFE2_BIAS, *(layout.classifier for layout in LAYOUTS.values()))
        return any(not key.startswith(heads) for key in self.beside)


def find_backbone(
    checkpoint: dict, layout: str | None = None, source: str = 'the checkpoint'
) -> Found:
    """Find the backbone's weights in a checkpoint and rename their keys to ours.

    Args:
        checkpoint: the contents of a file, as for `se_det.checkpoints.state_dicts.find_weights`;
            the keys may have a prefix, such as ``backbone.`` of a detector.
        layout: name of the layout; by default it is inferred from the keys.
        source: name of the file in error messages.

    Raises:
        UsageError: ``layout`` is unknown, there are no weights, the keys are of no known layout, or
            a tensor has a shape that does not suit its key.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f'No layout {layout!r}. Known: {", ".join(LAYOUTS)}.')
    weights = find_weights(checkpoint, source)
    prefix = _prefix(weights)
    inner, beside = split(weights, prefix)
    signs = {name: known.sign for name, known in LAYOUTS.items() if known.sign}
    names = [name for name, sign in signs.items() if any(re.search(sign, key) for key in inner)]
    if FIRST_BLOCK not in inner or (layout is None and len(names) > 1):
        raise UsageError(
            'These are not the weights of a ResNet, SE-ResNet or SE-ResNeXt in a known layout '
            f'({", ".join(LAYOUTS)}). Their first keys: {named(inner) or "none"}. If they are, '
            'name the layout: python -m se_det convert_weights --layout ...'
        )
    layout = LAYOUTS[layout or next(iter(names), 'plain')]
    gates = [key for key in inner if GATE.search(key)]
    if layout.name == 'plain' and gates:
        raise UsageError(
            'These are not the weights of a plain ResNet: they have channel attention of another '
            f'layout or an unknown kind: {named(gates)}. Known layouts: {", ".join(LAYOUTS)}.'
        )
    backbone = {}
    for key, tensor in _with_biases(inner, layout).items():
        if key.startswith(layout.classifier) or key == CAFFE2_BIAS:
            beside[key] = tensor
        else:
            if GATE.search(key) and tensor.ndim == 2:  # a linear layer of SE
                tensor = tensor[:, :, None, None]
            backbone[rename(key, layout.renamed)] = tensor
    _check_dimensions(backbone)
    return Found(
        weights=with_batch_counts(_with_deep_stem(backbone)),
        layout=layout,
        prefix=prefix,
        beside=beside,
        meta=metadata(checkpoint),
    )


def split(weights: StateDict, prefix: str) -> tuple[StateDict, StateDict]:
    """The weights under a backbone's prefix, and the others of the same model, by its own keys."""
    inner = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    outer = prefix.removesuffix('backbone.')  # such as a tracker's 'detector.'
    beside = {
        key.removeprefix(outer): tensor
        for key, tensor in weights.items()
        if key.startswith(outer) and not key.startswith(prefix)
    }
    return inner, beside


def prefixes_of(weights: StateDict, key: str) -> list[str]:
    """The prefixes that a key has in a state dict."""
    return [found.removesuffix(key) for found in weights if found.endswith(key)]


def _prefix(weights: StateDict) -> str:
    """The shortest prefix; a tracker's detector before its reid, a teacher before its student.

    The teacher's weights are an average of the student's.
    """
    prefixes = prefixes_of(weights, FIRST_BLOCK)
    return min(prefixes, key=lambda p: ('reid' in p, len(p), 'teacher' not in p), default='')


def _check_dimensions(weights: StateDict) -> None:
    """Check that convolutions have four dimensions and norms one; later code relies on it."""
    for key, tensor in weights.items():
        convolution = re.search(r'(^|\.)(conv\d|se\.fc\d)\.weight$', key)
        norm = re.search(r'(^|\.)[bg]n\d\.(weight|bias)$', key)
        dimensions = 4 if convolution else 1 if norm else tensor.ndim
        if tensor.ndim != dimensions or 0 in tensor.shape:
            raise UsageError(
                f'{key} has the shape {tuple(tensor.shape)}; expected {dimensions} dimensions, '
                'none of them 0. The file is damaged or of another network.'
            )


def rename(key: str, renamed: tuple[tuple[str, Any], ...]) -> str:
    """Replace regular expressions in a key, one after another."""
    for pattern, replacement in renamed:
        key = re.sub(pattern, replacement, key)
    return key


def _with_biases(weights: StateDict, layout: Layout) -> StateDict:
    """Add biases of zero to SE layers without bias."""
    if layout.name != 'bias-free':
        return weights
    biases = {
        key.removesuffix('weight') + 'bias': tensor.new_zeros(tensor.shape[:1])
        for key, tensor in weights.items()
        if re.search(r'\.se\.fc\.[02]\.weight$', key)
    }
    return {**biases, **weights}


def _with_deep_stem(weights: StateDict) -> StateDict:
    """Rename deep stems to mmdet's ``stem``: timm's, ``conv1.0``, and SENet-154's, ``conv2``."""
    if 'conv1.0.weight' in weights:
        renamed = ((r'^conv1\.', 'stem.'), (r'^bn1\.', 'stem.7.'))
    elif 'conv3.weight' in weights:
        renamed = tuple(
            (rf'^{layer}{number}\.', f'stem.{3 * number - 3 + index}.')
            for number in (1, 2, 3)
            for index, layer in enumerate(('conv', 'bn'))
        )
    else:
        return weights
    return {rename(key, renamed): tensor for key, tensor in weights.items()}


def with_batch_counts(weights: StateDict) -> StateDict:
    """Add ``num_batches_tracked``, which files from before torch 0.4.1 lack."""
    counts = {
        key.removesuffix('running_var') + 'num_batches_tracked': torch.tensor(0)
        for key in weights
        if key.endswith('running_var')
    }
    return {**counts, **weights}
