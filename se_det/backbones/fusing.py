"""When the tail of a block may be fused: its parts compute what they did when they were built.

Parts can be replaced, patched and hooked at any time, so each forward looks at those that a fused
tail does not call: the norm, SE and its layers, and the ReLU. Convolutions, plugins and shortcuts
are called as they are.
"""

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from se_det.layers import GATES, SqueezeExcitation, is_eager
from se_det.layers.attentions import EffectiveSqueezeExcitation, EfficientChannelAttention
from se_det.layers.squeeze_excitation import Convolution

# Attentions and the classes of their layers, by the names of these.
_LAYERS: dict[tuple[str, ...], list[tuple[type[nn.Module], ...]]] = {
    ('fc1', 'act', 'fc2', 'gate_act'): [
        (SqueezeExcitation, Convolution, nn.ReLU, Convolution, gate) for gate in GATES.values()
    ],
    ('conv', 'gate_act'): [(EfficientChannelAttention, nn.Conv1d, nn.Sigmoid)],
    ('fc', 'gate_act'): [(EffectiveSqueezeExcitation, Convolution, nn.Hardsigmoid)],
}
_GLOBAL_HOOKS = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


class _Recorded(NamedTuple):
    """Methods that classes had when they were recorded."""

    classes: tuple[type[nn.Module], ...]
    names: tuple[str, ...]
    functions: tuple[Callable, ...]
    have_kernels: bool  # for CUDA


_METHODS: dict[type[nn.Module], dict[str, Callable]] = {}
_FUSED: dict[tuple, _Recorded] = {}
_WORK: dict[torch.device, bool] = {}  # whether the kernels work on a device


def _record(kind: type[nn.Module], *names: str) -> None:
    _METHODS[kind] = {name: getattr(kind, name) for name in names}


for _kind in (nn.BatchNorm2d, Convolution, nn.Conv1d, nn.ReLU, *GATES.values(), nn.Hardsigmoid):
    _record(_kind, 'forward')
for _kind in (SqueezeExcitation, EfficientChannelAttention, EffectiveSqueezeExcitation):
    _record(_kind, 'forward', 'gate', 'squeezed', 'excite')


def record_block(block: type[nn.Module]) -> None:
    """Let the tails of a class of blocks be fused, unless a method that this skips is patched."""
    _record(block, 'scale', 'after_last_norm')
    for names, attentions in _LAYERS.items():
        for of_se in attentions:
            kinds = block, nn.BatchNorm2d, nn.ReLU, *of_se
            methods = [(kind, *method) for kind in kinds for method in _METHODS[kind].items()]
            have_kernels = SqueezeExcitation in of_se and nn.Sigmoid in of_se
            _FUSED[(names, *kinds)] = _Recorded(*zip(*methods, strict=True), have_kernels)


def fuses(block: nn.Module, v: Tensor) -> bool:
    """Whether `gated_tail` computes the tail of a block, from its last convolution's ``v``."""
    if not _is_wanted(block.fused, v):
        return False
    modules = block._modules
    norm, se = modules[block.norm_before_se], modules['se']
    parts = norm, modules['relu'], se, *se._modules.values()
    recorded = _FUSED.get((tuple(se._modules), type(block), *map(type, parts)))
    return (
        recorded is not None
        and tuple(map(getattr, recorded.classes, recorded.names)) == recorded.functions
        and not any(_GLOBAL_HOOKS)
        and _are_untouched(parts, v)
        and not any(map(se.__dict__.__contains__, _METHODS[type(se)]))
        and not any(map(block.__dict__.__contains__, _METHODS[type(block)]))
        and not block.__dict__.get('after_conv3_plugin_names')
        and se.squeeze == 'mean'
        and _has_statistics(norm, v)
        and (v.is_cpu or (recorded.have_kernels and _kernels_work(v.device)))
    )


def is_unpatched(module: nn.Module) -> bool:
    """Whether a module is of a recorded class, none of whose methods was patched."""
    kind, own = type(module), module.__dict__
    for name, method in _METHODS.get(kind, {'': None}).items():
        if name in own or getattr(kind, name, None) is not method:
            return False
    return kind in _METHODS


def _are_untouched(parts: Iterable[nn.Module], v: Tensor) -> bool:
    """Whether parts have no hooks, no forward of their own, and all weights in the dtype of v."""
    dtype = v.dtype if v.dtype.itemsize >= 4 else None  # half-precision maps are of autocast
    for part in parts:
        own = part.__dict__
        if (
            own['_forward_hooks']
            or own['_forward_pre_hooks']
            or own['_backward_hooks']
            or own['_backward_pre_hooks']
            or 'forward' in own
        ):
            return False
        if type(part) is nn.Conv1d:  # ECA's: without a bias, its weight is cast
            continue
        for weight in own['_parameters'].values():
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
