"""When the tail of a block may be fused: its parts compute what they did when they were built.

Parts can be replaced, patched and hooked at any time, so each forward looks at those that a fused
tail does not call: the norm, SE and its layers, and the ReLU. Convolutions, plugins and shortcuts
are called as they are.
"""

import functools
import logging
from collections.abc import Callable

import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from se_det.layers import GATES, SqueezeExcitation, is_eager
from se_det.layers.attentions import EffectiveSqueezeExcitation, EfficientChannelAttention
from se_det.layers.squeeze_excitation import Convolution

# The layers of each attention whose squeeze is the mean, in the order of its parameters.
_LAYERS: dict[type[nn.Module], dict[str, tuple[type[nn.Module], ...]]] = {
    SqueezeExcitation: dict(
        fc1=(Convolution,), act=(nn.ReLU,), fc2=(Convolution,), gate_act=(*GATES.values(),)
    ),
    EfficientChannelAttention: dict(conv=(nn.Conv1d,), gate_act=(nn.Sigmoid,)),
    EffectiveSqueezeExcitation: dict(fc=(Convolution,), gate_act=(nn.Hardsigmoid,)),
}
_METHODS: dict[type[nn.Module], tuple[tuple[str, Callable], ...]] = {}
_NO_CLASS = (('', is_eager),)  # has no method that a class could have
_GLOBAL_HOOKS = (
    torch_module._global_forward_hooks,
    torch_module._global_forward_pre_hooks,
    torch_module._global_backward_hooks,
    torch_module._global_backward_pre_hooks,
)


def record_methods(kind: type[nn.Module], *names: str) -> None:
    """Record methods of a class that a fused tail does not call, to notice later patches."""
    _METHODS[kind] = tuple((name, getattr(kind, name)) for name in names)


for _kind in (nn.BatchNorm2d, nn.ReLU, nn.Sigmoid, nn.Tanh, nn.Hardsigmoid):
    record_methods(_kind, 'forward')
for _kind in (nn.Conv1d, Convolution):
    record_methods(_kind, 'forward', '_conv_forward')
for _kind in _LAYERS:
    record_methods(_kind, 'forward', 'gate', 'squeezed', 'excite')


def fuses(block: nn.Module, v: Tensor) -> bool:
    """Whether `gated_tail` computes the tail of a block, from its last convolution's ``v``."""
    if not _is_wanted(block.fused, v):
        return False
    norm, se, relu = block.last_norm, block.se, block.relu
    return (
        type(norm) is nn.BatchNorm2d
        and type(relu) is nn.ReLU
        and type(se) in _LAYERS
        and is_unpatched(block)
        and are_original(norm, relu, se, *se._modules.values())
        and se.squeeze == 'mean'
        and _has_own_layers(se, v)
        and _has_weights_and_statistics(norm, v)
        and (v.is_cpu or _has_kernels(se, v.device))
    )


def is_unpatched(module: nn.Module) -> bool:
    """Whether a module is of a recorded class, none of whose methods was patched."""
    kind, own = type(module), module.__dict__
    for name, method in _METHODS.get(kind, _NO_CLASS):
        if name in own or getattr(kind, name, None) is not method:
            return False
    return True


def are_original(*modules: nn.Module) -> bool:
    """Whether modules are of recorded classes, and neither patched nor hooked."""
    for module in modules:
        own = module.__dict__
        if (
            own['_forward_hooks']
            or own['_forward_pre_hooks']
            or own['_backward_hooks']
            or own['_backward_pre_hooks']
            or not is_unpatched(module)
        ):
            return False
    return not any(_GLOBAL_HOOKS)


def _is_wanted(fused: bool | None, v: Tensor) -> bool:
    """Whether the option ``fused`` asks for it on this device, which has a function for ``v``."""
    if not isinstance(v, Tensor):  # torch.fx traces it
        return False
    if v.is_cuda:
        return fused is True and v.numel() > 0 and (torch.compiler.is_compiling() or is_eager(v))
    exact = v.dtype is torch.float32 or v.dtype is torch.float64
    return fused is not False and exact and v.is_cpu and is_eager(v) and v.numel() > 0


def _has_own_layers(se: nn.Module, v: Tensor) -> bool:
    """Whether an attention has the layers that it is made of, with weights for ``v``."""
    own, kinds = se._modules, _LAYERS[type(se)]
    return own.keys() == kinds.keys() and all(
        type(layer) in kinds[name] and (type(layer) is not Convolution or _has_weights(layer, v))
        for name, layer in own.items()
    )


def _has_weights_and_statistics(norm: nn.BatchNorm2d, v: Tensor) -> bool:
    """Whether a norm has what `gated_tail` reads, and in training what it changes."""
    buffers = norm._buffers
    return (
        _has_weights(norm, v)
        and buffers['running_mean'] is not None
        and (
            not norm.training
            or (
                norm.track_running_stats
                and buffers['num_batches_tracked'] is not None
                and norm.momentum is not None
                and v.numel() > v.shape[1]  # else torch raises: one value has no variance
            )
        )
    )


def _has_weights(layer: nn.Module, v: Tensor) -> bool:
    weights = layer._parameters
    return (
        weights['weight'] is not None
        and weights['bias'] is not None
        and (weights['weight'].dtype is v.dtype or v.dtype.itemsize < 4)
    )


def _has_kernels(se: nn.Module, device: torch.device) -> bool:
    """Whether there are kernels for an attention on a CUDA device, and they work there."""
    return (
        type(se) is SqueezeExcitation
        and type(se.gate_act) is nn.Sigmoid
        and _kernels_work(device.index)
    )


@functools.cache
def _kernels_work(device: int) -> bool:
    try:
        from se_det.layers.tail_cuda import failure_of_kernels
    except ImportError as error:
        failure = str(error)
    else:
        failure = failure_of_kernels(device)
    if failure:
        print_log(
            f'SE is computed layer by layer on cuda:{device}: its fused kernels do not work there '
            f'({failure}).',
            'current',
            logging.WARNING,
        )
    return not failure
