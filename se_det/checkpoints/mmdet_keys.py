"""Finds the weights of a backbone other than ResNet, which have the keys of MMDetection's class.

ResNet's weights have many layouts: see `se_det.checkpoints.layouts`.
"""

from torch import nn

from se_det.backbones.whole_state_dict import differences
from se_det.checkpoints.fit import NOT_IN_CLASSIFIERS
from se_det.checkpoints.grafting import check_plain_or_se, graft_into
from se_det.checkpoints.layouts import (
    CAFFE2_BIAS,
    prefixes_of,
    rename,
    split,
    with_batch_counts,
)
from se_det.checkpoints.state_dicts import StateDict, find_weights
from se_det.errors import UsageError

TIMMS_REGNET = (
    (r'^stem\.(conv|bn)\.', r'\g<1>1.'),
    (r'^s(\d)\.b(\d+)\.', lambda m: f'layer{m[1]}.{int(m[2]) - 1}.'),
    (r'\.conv(\d)\.(conv|bn)\.', r'.\2\1.'),
    (r'\.downsample\.conv\.', '.downsample.0.'),
    (r'\.downsample\.bn\.', '.downsample.1.'),
)


def weights_for(
    backbone: nn.Module, checkpoint: dict, graft: bool, source: str
) -> tuple[StateDict, StateDict]:
    """Find the weights of a backbone in a checkpoint.

    Args:
        backbone: an SEBackbone.
        checkpoint: the contents of a file: of a classifier or of a whole detector.
        graft: the weights are plain; add SE that leaves the outputs as they are.
        source: name of the weights in error messages.

    Returns:
        Weights with the keys and shapes of the backbone, maybe without layers that no classifier
        has, such as those of DCN; and the other weights of the same model.

    Raises:
        UsageError: the file is of another backbone, it has SE and ``graft`` is set, or has none
            and ``graft`` is not set.
    """
    expected = backbone.state_dict()
    weights = _with_mmdets_keys(find_weights(checkpoint, source))
    prefix = _prefix(weights, expected)
    given, beside = split(weights, prefix)
    parts = {key.partition('.')[0] for key in expected}
    for key in list(given):
        is_of_caffe2 = key == CAFFE2_BIAS and key not in expected
        if key.partition('.')[0] not in parts or is_of_caffe2:  # a classifier, or redundant
            beside[key] = given.pop(key)
    if given:
        check_plain_or_se(any('.se.' in key for key in given), graft, source)
    if graft:
        expected = {key: tensor for key, tensor in expected.items() if '.se.' not in key}
    own = getattr(backbone, 'layers_of_detector', ())
    expected = {k: v for k, v in expected.items() if k in given or not k.startswith(own)}
    given = with_batch_counts(given)
    if problems := differences(expected, given, NOT_IN_CLASSIFIERS):
        raise UsageError(
            f'The weights of {source} do not fit {type(backbone).__name__}: {problems}. Choose '
            'weights of the same backbone and size, and check stages in se_cfg.'
        )
    return (graft_into(backbone, given) if graft else given), beside


def _prefix(weights: StateDict, expected: StateDict) -> str:
    """The prefix under which most of the expected keys are.

    Of equal ones, a tracker's detector before its reid, a teacher before its student.
    """
    candidates = {p for p in prefixes_of(weights, next(iter(expected))) if p[-1:] in ('', '.')}
    return max(
        sorted(candidates, key=lambda p: ('reid' in p, len(p), 'teacher' not in p)),
        key=lambda p: sum(p + key in weights for key in expected),
        default='',
    )


def _with_mmdets_keys(weights: StateDict) -> StateDict:
    """Give timm's RegNet (``s1.b1.conv1.conv``, ``s1.b1.conv1.bn``) MMDetection's keys."""
    if 's1.b1.conv1.conv.weight' not in weights:
        return weights
    return {rename(key, TIMMS_REGNET): tensor for key, tensor in weights.items()}
