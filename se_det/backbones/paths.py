"""Which path computes a block: a fused one only where it computes what the block's parts do.

Parts can be replaced, patched and hooked at any time, so each forward looks at them. A part is the
original if its class is one of those below, no method of it was patched on the instance or on the
class, and it has no hooks.
"""

from enum import Enum, auto

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_forward_hooks,
    _global_forward_pre_hooks,
)

from se_det.layers import SqueezeExcitation
from se_det.layers.eager import is_eager
from se_det.layers.effective_squeeze_excitation import EffectiveSqueezeExcitation
from se_det.layers.efficient_channel_attention import EfficientChannelAttention
from se_det.layers.precision import is_half
from se_det.layers.squeeze_excitation import Convolution


class Path(Enum):
    """How a block computes ``relu(x + SE(R(x)))``."""

    PLAIN = auto()  # one layer after the other
    LEAN = auto()  # the last norm, SE, sum and ReLU in one function
    FOLDED = auto()  # each norm folded into the convolution before it


_METHODS: dict[type[nn.Module], dict[str, object]] = {}
_GLOBAL_HOOKS = (
    _global_forward_hooks,
    _global_forward_pre_hooks,
    _global_backward_hooks,
    _global_backward_pre_hooks,
)


def record_methods(kind: type[nn.Module], *names: str) -> None:
    """Record the methods of a class that fused paths do not call, to notice later patches."""
    _METHODS[kind] = {name: getattr(kind, name) for name in names}


record_methods(nn.Conv2d, 'forward', '_conv_forward')
record_methods(Convolution, 'forward', '_conv_forward')
record_methods(nn.BatchNorm2d, 'forward')
record_methods(nn.SyncBatchNorm, 'forward')
record_methods(nn.ReLU, 'forward')
record_methods(nn.Conv1d, 'forward', '_conv_forward')
record_methods(nn.Sigmoid, 'forward')
record_methods(nn.Tanh, 'forward')
record_methods(nn.Hardsigmoid, 'forward')
record_methods(nn.Sequential, 'forward')
OF_MEANS = SqueezeExcitation, EfficientChannelAttention, EffectiveSqueezeExcitation
for _attention in OF_MEANS:
    record_methods(_attention, 'forward', 'gate', 'gate_of_map', 'excite')


def choose_path(block: nn.Module, x: Tensor) -> Path:
    """The path of a block for its input ``x`` ``(N, C, H, W)``."""
    if not (
        is_eager(x)
        and _wants_fusing(block.fused, x.device.type)  # early: the rest takes 37 us of each block
        and not any(_GLOBAL_HOOKS)
        and has_original_methods(block)
        and _is_original(block.relu, nn.ReLU)
        and block.position == 'standard'
        and not block.relu_before_se
        and not block.with_plugins
        and _is_original_se(block.se)
        and _fits(x, next(block.se.parameters()).dtype)
    ):
        return Path.PLAIN
    if block.folds(x):
        return Path.FOLDED
    norm = block.last_norm
    if not (
        _is_original(norm, nn.BatchNorm2d)
        and _has_parameters_and_statistics(norm)
        and not is_half(norm.running_mean.dtype)
    ):
        return Path.PLAIN
    if norm.training and not (
        norm.track_running_stats
        and norm.num_batches_tracked is not None
        and norm.momentum is not None  # else PyTorch averages over all batches
        and x[:, 0].numel() > block.stride**2  # else it raises: one value has no variance
    ):
        return Path.PLAIN
    return Path.LEAN


def can_fold(conv: nn.Module, norm: nn.Module) -> bool:
    """Whether `folded_convolution` computes ``norm(conv(x))``."""
    return (
        _is_original(conv, nn.Conv2d)
        and conv.bias is None
        and conv.padding_mode == 'zeros'
        and isinstance(conv.padding, tuple)
        and _is_original(norm, nn.BatchNorm2d, nn.SyncBatchNorm)
        and _has_parameters_and_statistics(norm)
        and not norm.training
        and conv.out_channels == norm.num_features
    )


def can_fold_shortcut(downsample: nn.Module | None) -> bool:
    """Whether the projection of a shortcut is a convolution and a norm that can be folded."""
    return (
        downsample is not None
        and _is_original(downsample, nn.Sequential)
        and len(downsample) == 2
        and can_fold(*downsample)
    )


def is_pointwise(conv: nn.Conv2d) -> bool:
    """Whether a convolution maps each pixel alone, with all channels."""
    geometry = conv.kernel_size, conv.stride, conv.padding, conv.groups
    return geometry == ((1, 1), (1, 1), (0, 0), 1)


def has_original_methods(module: nn.Module) -> bool:
    """Whether a module is of one of the recorded classes, none of whose methods was patched."""
    kind = type(module)
    methods = _METHODS.get(kind)
    return (
        methods is not None
        and not any(name in module.__dict__ for name in methods)
        and all(getattr(kind, name) is method for name, method in methods.items())
    )


def _wants_fusing(fused: bool | None, device: str) -> bool:
    """Whether the option ``fused`` asks for fused paths on a type of device."""
    return fused is True if device == 'cuda' else device == 'cpu' and fused is not False


def _fits(x: Tensor, dtype: torch.dtype) -> bool:
    """Whether fused paths compute ``x``, with parameters of ``dtype``."""
    return (
        x.is_floating_point()
        and x.numel() > 0
        and (torch.is_autocast_enabled(x.device.type) or x.dtype == dtype)
    )


def _is_original(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    return (
        type(module) in kinds
        and has_original_methods(module)
        and not (
            module._forward_hooks
            or module._forward_pre_hooks
            or module._backward_hooks
            or module._backward_pre_hooks
        )
    )


def _is_original_se(se: nn.Module) -> bool:
    return (
        type(se) in OF_MEANS
        and all(_is_original(part, *_METHODS) for part in se.modules())
        and se.is_of_means
    )


def _has_parameters_and_statistics(norm: nn.Module) -> bool:
    return norm.weight is not None and norm.bias is not None and norm.running_mean is not None
