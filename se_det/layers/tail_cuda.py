"""The tail of a block on CUDA: eight launches of `se_det.layers.tail_kernels`.

A training step passes over the map 4 times forward and 6 times backward; MMDetection's layers
without SE do so 7 and 7 times. Small maps wait for the host, so a launch takes as little Python as
possible: what follows from the size of a map is computed once, and once Triton has compiled a
kernel for it, the compiled one is called.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from se_det.layers import tail_kernels as kernels
from se_det.layers.padding import Padding
from se_det.layers.squeeze_excitation import SqueezeExcitation

TILE = 2048  # values that a program reads at once
LOOPS = 8  # tiles that a program adds up
HIDDEN = 8  # hidden channels of a program
SPLITS = 16  # partial sums that a program reads at once


def cuda_tail(
    v: Tensor,
    identity: Tensor,
    norm: nn.BatchNorm2d,
    se: SqueezeExcitation,
    padding: Padding | None = None,
) -> Tensor:
    """As `se_det.layers.gated_tail`, for ``v`` on CUDA and an SE block with a sigmoid."""
    identity = identity.to(v.dtype)
    sizes = None if padding is None else padding.sizes
    fc1, fc2 = se._modules['fc1'], se._modules['fc2']
    parameters = [
        *norm._parameters.values(),  # weight and bias, as below
        *fc1._parameters.values(),
        *fc2._parameters.values(),
    ]
    if torch.compiler.is_compiling():
        statistics = norm.running_mean, norm.running_var, norm.training, norm.eps
        y, found = tail_op(v, identity, sizes, *parameters, *statistics)
        if norm.training:
            _update_statistics(norm, found)
        return y
    if v.is_cuda and v.get_device() != torch.cuda.current_device():  # on which Triton launches
        with torch.cuda.device(v.device):
            return _Tail.apply(v, identity, sizes, norm, *parameters)
    return _Tail.apply(v, identity, sizes, norm, *parameters)


def _update_statistics(norm: nn.BatchNorm2d, found: Tensor) -> None:
    running = [norm.running_mean, norm.running_var]
    channels = norm.num_features
    of_batch = found[: 2 * channels].to(norm.running_mean.dtype).split(channels)
    with torch.no_grad():
        torch._foreach_lerp_(running, of_batch, norm.momentum)


class _Plan:
    """What follows from the size, layout and precision of a map: tiles, grids, compiled kernels."""

    # Call compiled kernels directly: Triton's own launch inspects the arguments, and takes longer.
    calls_compiled = True

    def __init__(
        self, v: Tensor, hidden: int, training: bool, masked: bool, aligned: bool = True
    ) -> None:
        images, channels, height, width = v.shape
        pixels = height * width
        last = v.is_contiguous(memory_format=torch.channels_last) and not v.is_contiguous()
        self.format = torch.channels_last if last else torch.contiguous_format
        self.dtype = torch.float64 if v.dtype is torch.float64 else torch.float32
        pb = 32 if last else 512
        cb = min(triton.next_power_of_2(channels), TILE // pb)
        blocks, tiles = triton.cdiv(channels, cb), triton.cdiv(pixels, pb)
        self.splits = triton.cdiv(tiles, LOOPS)
        self.sizes = images, channels, hidden, pixels, width
        acc = dict(ACC=tl.float64 if self.dtype is torch.float64 else tl.float32)
        cases = dict(acc, TRAINING=training, MASKED=masked)
        tile = dict(LAST=last, CB=cb, PB=pb)
        rows = dict(CB=min(triton.next_power_of_2(channels), 256), HB=HIDDEN, SB=SPLITS)
        weights = dict(CB=min(triton.next_power_of_2(channels), 64), HB=32)
        by_weights = triton.cdiv(channels, weights['CB']), triton.cdiv(hidden, weights['HB']), 1
        by_hidden = images, triton.cdiv(hidden, HIDDEN), 1
        whole, reduction = (tiles, blocks, images), (self.splits, blocks, images)
        # The grid of each kernel, and its constants in the order of its arguments.
        self._launches = dict(
            moments=(reduction, dict(tile, LOOPS=LOOPS, **cases)),
            hidden_layer=(by_hidden, dict(LAST=last, **rows, **cases)),
            gate=((images, by_weights[0], 1), dict(weights, **acc)),
            tail=(whole, dict(tile, **acc)),
            gradient_sums=(reduction, dict(tile, LOOPS=LOOPS, **acc)),
            hidden_backward=(by_hidden, dict(rows, **acc)),
            parameters_backward=(by_weights, dict(weights, **cases)),
            tail_backward=(whole, dict(tile, **cases)),
        )
        # Kernels are compiled for tensors at multiples of 16 bytes, or for those of one launch.
        self._keeps_compiled = aligned and self.calls_compiled
        self._device = v.device.index
        self._compiled: dict[str, tuple] = {}

    def launch(self, name: str, *arguments: Any) -> None:
        """Launch a kernel.

        The first time Triton compiles it for the arguments; then the compiled one is called.
        """
        if name in self._compiled:
            run, grid, function, metadata, constants = self._compiled[name]
            stream = triton.runtime.driver.active.get_current_stream(self._device)
            run(*grid, stream, function, metadata, None, None, None, *arguments, *constants)
            return
        grid, constants = self._launches[name]
        kernel = getattr(kernels, name)[grid](*arguments, **constants)
        if kernel is not None and self._keeps_compiled:  # None: interpreted
            found = kernel.run, grid, kernel.function, kernel.packed_metadata
            self._compiled[name] = *found, tuple(constants.values())

    def launch_in_graph(self, name: str, *arguments: Any) -> None:
        """Launch a kernel in a graph of torch.compile."""
        grid, constants = self._launches[name]
        torch.library.wrap_triton(getattr(kernels, name))[grid](*arguments, **constants)


_plans: dict[tuple, _Plan] = {}
_dtype, _pointer = operator.attrgetter('dtype'), operator.methodcaller('data_ptr')


def _plan_of(
    v: Tensor, hidden: int, training: bool, masked: bool, others: Sequence[Tensor]
) -> _Plan:
    """The plan for a map ``v``, beside which kernels read the other tensors."""
    dtypes = tuple(map(_dtype, others))
    aligned = functools.reduce(operator.or_, map(_pointer, others), v.data_ptr()) % 16 == 0
    key = v.shape, v.stride(), v.dtype, v.device, hidden, training, masked, dtypes, aligned
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _Plan(v, hidden, training, masked, aligned)
    return plan


def _forward(
    plan: _Plan,
    launch: Callable,
    v: Tensor,
    identity: Tensor,
    sizes: Tensor | None,
    parameters: Sequence[Tensor],
    running_mean: Tensor,
    running_var: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The output, and the vectors that `se_det.layers.tail_kernels` calls ``found``."""
    weight, bias, w1, b1, w2, b2 = parameters
    images, channels, hidden, pixels, width = plan.sizes
    splits = plan.splits
    partial = v.new_empty(3 * splits * images * channels, dtype=plan.dtype)
    found = v.new_empty((3 + 4 * images) * channels + images * hidden, dtype=plan.dtype)
    y = torch.empty_like(v)
    sizes = found if sizes is None else sizes  # not read then
    launch('moments', v, partial, sizes, channels, pixels, width)
    launch(
        'hidden_layer',
        *(v, partial, found, weight, bias, running_mean, running_var, w1, b1, sizes),
        *(images, channels, hidden, pixels, width, splits, eps),
    )
    launch('gate', found, weight, bias, w2, b2, images, channels, hidden)
    launch('tail', v, identity, y, found, images, channels, pixels)
    return y, found


def _backward(
    plan: _Plan,
    launch: Callable,
    gradient: Tensor,
    y: Tensor,
    v: Tensor,
    found: Tensor,
    sizes: Tensor | None,
    *parameters: Tensor,
) -> tuple[Tensor, ...]:
    """The gradients of v, identity and the parameters."""
    weight, bias, w1, _, w2, _ = parameters
    images, channels, hidden, pixels, width = plan.sizes
    splits = plan.splits
    partial = v.new_empty(2 * splits * images * channels, dtype=plan.dtype)
    back = v.new_empty((2 + 4 * images) * channels + images * hidden, dtype=plan.dtype)
    of_identity, of_v = torch.empty_like(v), torch.empty_like(v)
    of_parameters = [torch.empty_like(tensor) for tensor in parameters]
    sizes = found if sizes is None else sizes
    launch('gradient_sums', gradient, y, v, found, of_identity, partial, channels, pixels)
    launch(
        'hidden_backward',
        *(partial, found, back, weight, bias, w2, images, channels, hidden, splits),
    )
    launch(
        'parameters_backward',
        *(found, back, weight, bias, w1, sizes, *of_parameters),
        *(images, channels, hidden, pixels, width),
    )
    launch(
        'tail_backward',
        *(of_identity, v, of_v, found, back, sizes, images, channels, pixels, width),
    )
    return of_v, of_identity, *of_parameters


def _dense(v: Tensor) -> Tensor:
    """A map in one of the two memory formats, without a copy if it is in one."""
    last = v.is_contiguous(memory_format=torch.channels_last)
    return v if last else v.contiguous()


class _Tail(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        v: Tensor,
        identity: Tensor,
        sizes: Tensor | None,
        norm: nn.BatchNorm2d,
        *parameters: Tensor,
    ) -> Tensor:
        v = _dense(v)
        running_mean, running_var, _ = norm._buffers.values()
        others = [identity, *parameters, running_mean, running_var]
        if sizes is not None:
            others.append(sizes)
        plan = _plan_of(v, parameters[2].shape[0], norm.training, sizes is not None, others)
        identity = identity.contiguous(memory_format=plan.format)
        statistics = running_mean, running_var, norm.eps
        y, found = _forward(plan, plan.launch, v, identity, sizes, parameters, *statistics)
        if norm.training:
            _update_statistics(norm, found)
        ctx.plan = plan
        ctx.save_for_backward(y, v, found, sizes, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        plan = ctx.plan
        gradient = gradient.contiguous(memory_format=plan.format)
        if gradient.data_ptr() % 16:  # of a slice
            gradient = gradient.clone()
        of_v, of_identity, *of_parameters = _backward(
            plan, plan.launch, gradient, *ctx.saved_tensors
        )
        return of_v, of_identity, None, None, *of_parameters


# Under torch.compile the same are operators, into which it can look.


@torch.library.triton_op('se_det::tail', mutates_args=())
def tail_op(
    v: Tensor,
    identity: Tensor,
    sizes: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    training: bool,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """As `_forward`."""
    v = _dense(v)
    plan = _Plan(v, w1.shape[0], training, sizes is not None)
    identity = identity.contiguous(memory_format=plan.format)
    parameters = weight, bias, w1, b1, w2, b2
    statistics = running_mean, running_var, eps
    return _forward(plan, plan.launch_in_graph, v, identity, sizes, parameters, *statistics)


@torch.library.triton_op('se_det::tail_backward', mutates_args=())
def tail_backward_op(
    gradient: Tensor,
    y: Tensor,
    v: Tensor,
    found: Tensor,
    sizes: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    w1: Tensor,
    b1: Tensor,
    w2: Tensor,
    b2: Tensor,
    training: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `_backward`."""
    v = _dense(v)
    plan = _Plan(v, w1.shape[0], training, sizes is not None)
    gradient = gradient.contiguous(memory_format=plan.format)
    parameters = weight, bias, w1, b1, w2, b2
    return _backward(plan, plan.launch_in_graph, gradient, y, v, found, sizes, *parameters)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    v, _, sizes, *parameters, _, _, ctx.training, _ = inputs
    y, found = output
    ctx.mark_non_differentiable(found)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(y, v, found, sizes, *parameters)


def _backward_of_op(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    of_v, of_identity, *of_parameters = tail_backward_op(gradient, *ctx.saved_tensors, ctx.training)
    return of_v, of_identity, None, *of_parameters, None, None, None, None


tail_op.register_autograd(_backward_of_op, setup_context=_save)


def failure_of_kernels(device: torch.device) -> str | None:
    """Try the kernels once on a device; returns what is wrong with them there, if anything."""
    failure = _try(device)
    if failure and _Plan.calls_compiled:  # Triton does not document such calls
        _Plan.calls_compiled = False
        failure = _try(device)
    return failure


def _try(device: torch.device) -> str | None:
    try:
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device.type, enabled=False),
            torch.random.fork_rng([]),
        ):
            return _failure(device)
    except Exception as error:  # Triton is young: whatever it raises, layers compute the same
        return f'{type(error).__name__}: {error}'.splitlines()[0]
    finally:
        _plans.clear()


def _failure(device: torch.device) -> str | None:
    generator = torch.Generator(device).manual_seed(0)
    norm, se = nn.BatchNorm2d(32, device=device), SqueezeExcitation(32).to(device)
    v, identity = (
        torch.randn(2, 32, 8, 8, device=device, generator=generator).requires_grad_()
        for _ in range(2)
    )
    inputs = v, identity, *norm.parameters(), *se.parameters()
    expected = (identity + se(norm(v))).relu()
    expected = expected, *torch.autograd.grad(expected.square().sum(), inputs)
    for _ in range(2):  # the second time compiled kernels are called
        y = cuda_tail(v, identity, norm, se)
        found = y, *torch.autograd.grad(y.square().sum(), inputs)
        for ours, theirs in zip(found, expected, strict=True):
            if not torch.allclose(ours, theirs, rtol=1e-2, atol=1e-2):
                return 'the kernels compute something else'
    return None
