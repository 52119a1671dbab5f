#!/usr/bin/env python3
"""Measure what a block takes of the host: Python, autograd and the dispatch of operators.

A forward and a backward of one bottleneck on tiny maps, on a CPU, where computing takes next to no
time. Triton's kernels are compiled for a GPU, and called by a driver that launches nothing, so that
no GPU is needed. Contenders alternate, in a new order each round; a ratio is the median over the
rounds.
"""

import argparse
import cProfile
import functools
import pstats
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from mmdet.models.backbones.resnet import ResNet
from peers.contenders import _with_se_layers
from torch import Tensor, nn
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from se_det.backbones import SEResNet, fusing
from se_det.layers import padding

PLAIN, SE_LAYER = 'MMDetection, plain', 'MMDetection, SELayer'
LAYERS, FUSED = 'se_det, layer by layer', 'se_det, fused'
DECISION = 'se_det, whether it may be fused'
CALLS = 10  # in a round


class _Utils:
    def load_binary(self, name: str, kernel: bytes, shared: int, device: int) -> tuple:
        return name, name, 32, 0, 1024  # module, function, registers, spilled, threads

    def get_device_properties(self, device: int) -> dict[str, int]:
        return dict(max_shared_mem=1 << 18, multiprocessor_count=1, warpSize=32)

    def unload_module(self, module: Any) -> None: ...


class _Launcher:
    def __init__(self, source: Any, metadata: Any) -> None: ...

    def __call__(self, *arguments: Any) -> None: ...


class NoLaunches:
    """A driver for Triton that launches nothing."""

    utils = _Utils()
    launcher_cls = _Launcher

    def get_current_target(self) -> GPUTarget:
        """As of an H100."""
        return GPUTarget('cuda', 90, 32)

    def get_current_device(self) -> int:
        """Any."""
        return 0

    def get_current_stream(self, device: int) -> int:
        """Any."""
        return 0


def pretend_to_be_a_gpu() -> None:
    """Let tensors on the CPU take the path of those on a GPU."""
    driver.set_active(NoLaunches())
    torch.Tensor.is_cuda = True
    torch.cuda.is_current_stream_capturing = lambda: False
    torch.cuda.current_device = lambda: -1  # as get_device() of a tensor on the CPU
    fusing._kernels_work = functools.cache(lambda device: True)


def blocks() -> dict[str, nn.Module]:
    """A bottleneck of 32 channels of each contender, with fixed statistics."""
    shape = dict(depth=50, base_channels=8, norm_eval=True)
    backbones = {
        PLAIN: ResNet(**shape),
        SE_LAYER: _with_se_layers(ResNet(**shape)),
        LAYERS: SEResNet(se_cfg=dict(fused=False), **shape),
        FUSED: SEResNet(se_cfg=dict(fused=True), **shape),
    }
    for backbone in backbones.values():
        backbone.to(memory_format=torch.contiguous_format)  # as on a GPU
        backbone.train()
    return {name: backbone.layer1[1] for name, backbone in backbones.items()}


def steps(x: Tensor) -> dict[str, Callable[[], Any]]:
    """A forward and a backward of each contender, and the decision to fuse alone."""

    def step_of(block: nn.Module) -> Callable[[], Any]:
        inputs = [x, *block.parameters()]

        def step() -> None:
            y = block(x)
            torch.autograd.grad(y, inputs, y)

        return step

    found = blocks()
    return {
        **{name: step_of(block) for name, block in found.items()},
        DECISION: functools.partial(fusing.fuses, found[FUSED], x),
    }


def measure(timed: dict[str, Callable[[], Any]], seconds: float) -> dict[str, list[float]]:
    """Microseconds of each function, in each of the rounds that these seconds allow."""
    found: dict[str, list[float]] = {name: [] for name in timed}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name in random.sample(list(timed), len(timed)):
            start = time.thread_time()
            for _ in range(CALLS):
                timed[name]()
            found[name].append((time.thread_time() - start) / CALLS * 1e6)
    return {name: times[len(times) // 10 :] for name, times in found.items()}  # warm


def main() -> None:
    """Parse the arguments, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=15)
    parser.add_argument('--profile', metavar='CONTENDER', help='show where its time goes instead')
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # of what no kernel has written
    pretend_to_be_a_gpu()
    x = torch.randn(2, 32, 4, 4, requires_grad=True)
    padding._batch.set(padding._Images(None, (4, 4), {}))  # as in a batch without padding
    timed = steps(x)
    for function in timed.values():
        function()
    if args.profile:
        with cProfile.Profile() as profile:
            for _ in range(1000):
                timed[args.profile]()
        pstats.Stats(profile).sort_stats('tottime').print_stats(25)
        return
    found = measure(timed, args.seconds)
    print('| block, forward and backward | us | to plain | to SELayer |')
    print('|---|---|---|---|')
    for name, times in found.items():
        ratios = (
            statistics.median(a / b for a, b in zip(times, found[other], strict=True))
            for other in (PLAIN, SE_LAYER)
        )
        row = name, f'{statistics.median(times):.1f}', *(f'{ratio:.2f}' for ratio in ratios)
        print('| ' + ' | '.join(row) + ' |')


if __name__ == '__main__':
    main()
