"""When the tail of a block may be fused: its parts compute what they did when they were built.

Parts can be replaced, patched and hooked at any time, so each forward looks at those that a fused
tail does not call: the norm, SE and its layers, and the ReLU. Convolutions, plugins and shortcuts
are called as they are.
"""

import logging
from collections.abc import Callable, Iterable

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from se_det.layers import GATES, SqueezeExcitation, is_eager
from se_det.layers.attentions import EffectiveSqueezeExcitation, EfficientChannelAttention
from se_det.layers.squeeze_excitation import Convolution

_LAYERS: dict[type[nn.Module], list[tuple[type[nn.Module], ...]]] = {
    SqueezeExcitation: [(Convolution, nn.ReLU, Convolution, gate) for gate in GATES.values()],
    EfficientChannelAttention: [(nn.Conv1d, nn.Sigmoid)],
    EffectiveSqueezeExcitation: [(Convolution, nn.Hardsigmoid)],
}
_GLOBAL_HOOKS = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)
_WITH_KERNELS = Convolution, nn.ReLU, Convolution, nn.Sigmoid  # for CUDA
_METHODS: dict[type[nn.Module], list[tuple[str, Callable]]] = {}  # before anybody patched them
_WORK: dict[torch.device, bool] = {}  # whether the kernels work on a device


def _record(kind: type[nn.Module], *names: str) -> None:
    _METHODS[kind] = [(name, getattr(kind, name)) for name in names]


for _kind in (nn.BatchNorm2d, *{layer for kinds in _LAYERS.values() for layer in sum(kinds, ())}):
    _record(_kind, 'forward')
for _kind in _LAYERS:
    _record(_kind, 'forward', 'gate', 'squeezed', 'excite')


def record_block(block: type[nn.Module]) -> None:
    """Let the tails of a class of blocks be fused, unless a method that this skips is patched."""
    _record(block, 'scale', 'after_last_norm')


def fuses(block: nn.Module, v: Tensor) -> bool:
    """Whether `gated_tail` computes the tail of a block, from its last convolution's ``v``."""
    if not _is_wanted(block.fused, v):
        return False
    parts = block._modules
    norm, relu, se = parts[block.norm_before_se], parts['relu'], parts['se']
    layers = (*se._modules.values(),)
    kinds = tuple(map(type, layers))
    return (
        (type(norm), type(relu)) == (nn.BatchNorm2d, nn.ReLU)
        and kinds in _LAYERS.get(type(se), ())
        and all(map(is_unpatched, (block, norm, relu, se, *layers)))
        and not any(map(_is_hooked, (norm, relu, se, *layers)))
        and not any(_GLOBAL_HOOKS)
        and not block.__dict__.get('after_conv3_plugin_names')
        and se.squeeze == 'mean'
        and _have_weights((norm, *layers), v)
        and _has_statistics(norm, v)
        and (v.is_cpu or (kinds == _WITH_KERNELS and _kernels_work(v.device)))
    )


def is_unpatched(module: nn.Module) -> bool:
    """Whether a module is of a recorded class, and its methods are those that were recorded."""
    kind, own = type(module), module.__dict__
    for name, method in _METHODS.get(kind, ()):
        if name in own or getattr(kind, name) is not method:
            return False
    return kind in _METHODS


def _is_hooked(module: nn.Module) -> bool:
    own = module.__dict__
    return bool(
        own['_forward_hooks']
        or own['_forward_pre_hooks']
        or own['_backward_hooks']
        or own['_backward_pre_hooks']
    )


def _have_weights(parts: Iterable[nn.Module], v: Tensor) -> bool:
    """Whether no weight is missing, and all are in the dtype of v; ECA's weight is cast."""
    dtype = v.dtype if v.dtype.itemsize >= 4 else None  # half-precision maps are of autocast
    for part in parts:
        for weight in () if type(part) is nn.Conv1d else part.__dict__['_parameters'].values():
            if weight is None or (weight.dtype is not dtype and dtype is not None):
                return False
    return True


def _is_wanted(fused: bool | None, v: Tensor) -> bool:
    """Whether the option ``fused`` asks for it on this device, which has a function for ``v``."""
    if fused is False or not (is_eager(v) or torch.compiler.is_compiling()):
        return False
    if v.is_cuda:
        return fused is True and v.numel() > 0
    exact = v.dtype is torch.float32 or v.dtype is torch.float64
    return exact and v.is_cpu and is_eager(v) and v.numel() > 0


def _has_statistics(norm: nn.BatchNorm2d, v: Tensor) -> bool:
    """Whether a norm has running statistics, and can update them in training; nearly all can."""
    return norm._buffers['running_mean'] is not None and (not norm.training or _trains(norm, v))


def _trains(norm: nn.BatchNorm2d, v: Tensor) -> bool:
    """Whether a norm keeps a moving average, and ``v`` has more than one value per channel."""
    return (
        norm.track_running_stats
        and norm._buffers['num_batches_tracked'] is not None
        and norm.momentum is not None
        and v.numel() > v.shape[1]
    )


# torch.compile would trace the trial, and traces into functools.cache whatever it is marked as.
@torch.compiler.assume_constant_result
def _kernels_work(device: torch.device) -> bool:
    if device not in _WORK:
        _WORK[device] = _try_kernels(device)
    return _WORK[device]


def _try_kernels(device: torch.device) -> bool:
    try:
        from se_det.layers.tail_cuda import failure_of_kernels
    except ImportError as error:
        failure = str(error)
    else:
        failure = failure_of_kernels(device)
    if failure:
        print_log(
            f'SE is computed layer by layer on {device}: its fused kernels do not work there '
            f'({failure}).',
            'current',
            logging.WARNING,
        )
    return not failure
