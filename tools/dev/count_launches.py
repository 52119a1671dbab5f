#!/usr/bin/env python3
"""Count kernel launches, and passes over the map of a block, without a GPU.

A training step of the ResNet-50 backbone runs on fake tensors. A launch is an operator; a backward
of a convolution is one for each gradient. Views and allocations launch nothing. A copy to the host,
which waits for the GPU, counts as a launch.

The tail of a block runs with and without SE. A pass reads or writes each value of the map once. An
operator passes over each argument and result that is as large as the map. A batch norm in training
reads its input twice, and its backward the gradient and the input; in evaluation mode the backward
reads the gradient twice. The passes of a Triton kernel are not taken from its arguments: Triton's
interpreter runs it, and each value that it loads and stores is counted.
"""

import argparse
import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from unittest import mock

os.environ['TRITON_INTERPRET'] = '1'  # read when Triton is imported

import torch
from mmdet.models.backbones.resnet import ResNet
from mmdet.models.layers import SELayer
from peers.contenders import FROZEN, _with_se_layers
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.interpreter import InterpreterBuilder

from se_det.backbones import SEResNet, fusing
from se_det.layers import SqueezeExcitation, padding, tail_cuda

ALLOCATIONS = {'empty', 'empty_like', 'empty_strided', 'new_empty', 'new_empty_strided', 'detach'}
VIEWS = {'_unsafe_view', '_reshape_alias', 'lift_fresh'}  # that their schemas do not show as such
READS_TWICE = {  # by a batch norm, in training and in evaluation mode: indices of the arguments
    'native_batch_norm': ([0], []),
    'native_batch_norm_backward': ([0, 1], [0]),
}
TRAINING = {'native_batch_norm': 5, 'native_batch_norm_backward': 7}  # index of the argument


class Count(TorchDispatchMode):
    """Count launches and passes of all that runs within it.

    Args:
        values: of the map that passes go over.
        padded: whether the batch is padded; fake tensors have no values that could tell.
    """

    def __init__(self, values: int = 0, padded: bool = False) -> None:
        super().__init__()
        self.values = values
        self.padded = padded
        self.phase = 'forward'
        self.launches: Counter[str] = Counter()
        self.passes: Counter[str] = Counter()

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        name = operator._schema.name.partition('::')[2]
        if name == '_local_scalar_dense' and isinstance(args[0], FakeTensor):
            self.launches[self.phase] += 1
            return not self.padded
        result = operator(*args, **(kwargs or {}))
        computes = operator._schema.is_mutable or any(
            isinstance(value, Tensor) for value in tree_leaves(result)
        )
        if operator.is_view or not computes or name in ALLOCATIONS or name in VIEWS:
            return result
        self.launches[self.phase] += sum(args[-1]) if name == 'convolution_backward' else 1
        self.passes[self.phase] += sum(map(self._is_map, tree_leaves((args, kwargs, result))))
        if name in READS_TWICE:
            training, evaluation = READS_TWICE[name]
            again = training if args[TRAINING[name]] else evaluation
            self.passes[self.phase] += sum(self._is_map(args[index]) for index in again)
        return result

    def _is_map(self, value: Any) -> bool:
        return (
            isinstance(value, Tensor) and value.numel() == self.values and 0 not in value.stride()
        )

    def backward(self, outputs: list[Tensor], inputs: Iterable[Tensor]) -> None:
        """The gradients of those inputs that require one."""
        self.phase = 'backward'
        gradients = [torch.empty_like(output) for output in outputs]
        torch.autograd.grad(outputs, [x for x in inputs if x.requires_grad], gradients)


def of_step(build: Callable[[], nn.Module], padded: bool) -> Counter[str]:
    """Launches of a training step of a backbone on fake tensors."""
    with contextlib.ExitStack() as stack:
        # The engine of autograd takes no fake tensor on a GPU that is not there, so these are on a
        # CPU, and say that they are not.
        stack.enter_context(mock.patch.object(FakeTensor, 'is_cuda', True))
        stack.enter_context(mock.patch.object(FakeTensor, 'data_ptr', lambda self: 0))
        stack.enter_context(mock.patch.object(torch.cuda, 'current_device', lambda: -1))
        for module in (fusing, padding):
            stack.enter_context(mock.patch.object(module, 'is_eager', lambda x: True))
        # Strides are computed on the host; the number does not matter.
        stack.enter_context(mock.patch.object(padding, '_known_stride', lambda *edges: 4.0))
        stack.enter_context(mock.patch.object(fusing, '_kernels_work', lambda device: True))
        stack.enter_context(mock.patch.object(SEResNet, '_set_memory_format'))  # of a CPU
        stack.enter_context(mock.patch.object(tail_cuda, '_plans', {}))
        stack.enter_context(FakeTensorMode())
        count = Count(padded=padded)

        def launch(plan: Any, name: str, *arguments: Any) -> None:
            count.launches[count.phase] += 1

        stack.enter_context(mock.patch.object(tail_cuda._Plan, 'launch', launch))
        model = build()
        model.train()  # MMDetection's returns nothing
        images = torch.empty(2, 3, 800, 1344)
        with count:
            count.backward([x for x in model(images) if x.requires_grad], model.parameters())
        return count.launches


def of_tail(tail: Callable[..., Tensor], se: nn.Module | None, training: bool) -> Count:
    """Launches and passes of the tail of a block."""
    torch.manual_seed(0)
    v, identity = (torch.randn(2, 64, 24, 40, requires_grad=True) for _ in range(2))
    norm = nn.BatchNorm2d(64).train(training)
    count = Count(v.numel())
    parameters = [*norm.parameters(), *(se.parameters() if se else ())]
    with counted_kernels(count), count:
        count.backward([tail(v, identity, norm, se)], [v, identity, *parameters])
    return count


@contextlib.contextmanager
def counted_kernels(count: Count) -> Iterator[None]:
    """Count what Triton's interpreter runs."""
    launch_kernel = tail_cuda._Plan.launch
    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store
    maps: list[tuple[int, int]] = []

    def launch(plan: Any, name: str, *arguments: Any) -> None:
        maps[:] = [(x.data_ptr(), x.data_ptr() + x.nbytes) for x in arguments if count._is_map(x)]
        count.launches[count.phase] += 1
        with torch._C._DisableTorchDispatch():  # the interpreter's own work
            launch_kernel(plan, name, *arguments)

    def pass_over(pointers: Any, mask: Any) -> None:
        at = pointers.data[mask.data]
        for start, end in maps:
            count.passes[count.phase] += ((at >= start) & (at < end)).sum() / count.values

    def counted_load(self: Any, pointers: Any, mask: Any, *others: Any) -> Any:
        pass_over(pointers, mask)
        return load(self, pointers, mask, *others)

    def counted_store(self: Any, pointers: Any, value: Any, mask: Any, *others: Any) -> Any:
        pass_over(pointers, mask)
        return store(self, pointers, value, mask, *others)

    with (
        mock.patch.object(tail_cuda._Plan, 'launch', launch),
        mock.patch.object(InterpreterBuilder, 'create_masked_load', counted_load),
        mock.patch.object(InterpreterBuilder, 'create_masked_store', counted_store),
    ):
        yield


def layer_by_layer(v: Tensor, identity: Tensor, norm: nn.Module, se: nn.Module | None) -> Tensor:
    """``relu(identity + se(norm(v)))`` as MMDetection's blocks compute it."""
    out = norm(v)
    if se is not None:
        out = se(out)
    out += identity
    return out.relu_()


def fused(v: Tensor, identity: Tensor, norm: nn.Module, se: nn.Module) -> Tensor:
    """As `se_det.layers.gated_tail` on CUDA."""
    if norm.training:
        norm.num_batches_tracked.add_(1)
    return tail_cuda.cuda_tail(v, identity, norm, se)


def main() -> None:
    """Print two Markdown tables."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()

    def ours(fused: bool) -> Callable[[], nn.Module]:
        return lambda: SEResNet(50, se_cfg=dict(fused=fused), **FROZEN)

    def plain() -> nn.Module:
        return ResNet(50, **FROZEN)

    print('| training step of a ResNet-50 backbone | launches forward | backward | both |')
    print('|---|---|---|---|')
    for name, build, padded in (
        ('MMDetection, plain', plain, False),
        ('MMDetection, SELayer', lambda: _with_se_layers(plain()), False),
        ('se_det, layer by layer', ours(fused=False), False),
        ('se_det, layer by layer, padded batch', ours(fused=False), True),
        ('se_det, fused', ours(fused=True), False),
        ('se_det, fused, padded batch', ours(fused=True), True),
    ):
        found = of_step(build, padded)
        print(f'| {name} | {found["forward"]} | {found["backward"]} | {found.total()} |')
    print()
    print('| tail of a block | norm | passes | launches |')
    print('|---|---|---|---|')
    for training in (False, True):
        for name, tail, se in (
            ('MMDetection, plain', layer_by_layer, None),
            ('MMDetection, SELayer', layer_by_layer, SELayer(64)),
            ('se_det, layer by layer', layer_by_layer, SqueezeExcitation(64)),
            ('se_det, fused', fused, SqueezeExcitation(64)),
        ):
            count = of_tail(tail, se, training)
            mode = 'training' if training else 'evaluation'
            passes, launches = (
                f'{found["forward"]:.3g} + {found["backward"]:.3g}'
                for found in (count.passes, count.launches)
            )
            print(f'| {name} | {mode} | {passes} | {launches} |')


if __name__ == '__main__':
    main()
