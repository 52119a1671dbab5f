"""The state dict in the contents of a checkpoint, whatever program wrote it."""

from collections import OrderedDict
from typing import Any

from torch import Tensor

from se_det.backbones.whole_state_dict import StateDict
from se_det.errors import UsageError

# Keys under which training programs save weights. Averaged copies (EMA) come first, but mmengine
# swaps: its state_dict has the averaged weights, its ema_state_dict the others.
WRAPPERS = (
    *('state_dict_ema', 'model_ema', 'state_dict', 'ema_state_dict', 'ema', 'ema_model'),
    *('params_ema', 'model_state_dict', 'model_state', 'model', 'network', 'net', 'params'),
    *('weights', 'module', 'backbone'),
)
# Prefixes of DataParallel and of averaged models, and of torch.compile.
PREFIXES = ('module.', '_orig_mod.')
COUNTERS = ('steps', 'n_averaged')  # of averaged models, beside the prefix


def find_weights(checkpoint: dict, source: str) -> StateDict:
    """Find the state dict in a checkpoint.

    It may be the checkpoint itself, or under one of `WRAPPERS`; prefixes of `PREFIXES` that all
    keys have are left out.

    Args:
        checkpoint: the contents of a file.
        source: name of the file in error messages.

    Raises:
        UsageError: there are no weights in it; the message names the keys that it has.
    """
    if weights := _unwrap(checkpoint):
        return _without_prefix(weights)
    keys = ', '.join(str(key) for key in checkpoint) or 'none'
    raise UsageError(
        f'No weights in {source}. Its keys: {keys[:500]}. Expected a state dict, by itself or '
        f'under one of {", ".join(WRAPPERS)}. Write such a file: '
        "torch.save(dict(state_dict=model.state_dict()), 'weights.pth')"
    )


def metadata(checkpoint: dict) -> dict[str, Any]:
    """The ``meta`` of MMDetection's and mmengine's checkpoints; empty for files of others."""
    meta = checkpoint.get('meta')
    return meta if isinstance(meta, dict) else {}


def _unwrap(checkpoint: dict) -> StateDict:
    for wrapper in WRAPPERS:
        inner = checkpoint.get(wrapper)
        if isinstance(inner, dict) and inner is not checkpoint and (weights := _unwrap(inner)):
            return weights
    weights = {
        key: value
        for key, value in checkpoint.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    # The original has the versions of its modules, which torch's hooks read.
    return checkpoint if len(weights) == len(checkpoint) else weights


def _without_prefix(weights: StateDict) -> StateDict:
    for prefix in PREFIXES:
        if all(key.startswith(prefix) or key in COUNTERS for key in weights):
            versions = getattr(weights, '_metadata', {})
            weights = OrderedDict(
                (key.removeprefix(prefix), tensor)
                for key, tensor in weights.items()
                if key not in COUNTERS
            )
            weights._metadata = {key.removeprefix(prefix): v for key, v in versions.items()}
            return _without_prefix(weights)
    return weights
