#!/usr/bin/env python3
"""Measure SE-ResNet-50 beside plain ResNet-50 on a GPU: tools/dev/measure_gpu.py --out DIR.

The kernels against the layers in float64; time, peak memory, kernels and their time of training and
inference; torch.compile; then the tests that need a GPU. The most important comes first, and what
no longer fits into the minutes is left out. `DIR/table.md` and `DIR/results.json` are written after
each setting.
"""

import argparse
import copy
import json
import os
import random
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path

if '--tiny' in sys.argv:
    os.environ.update(TRITON_INTERPRET='1', TORCHDYNAMO_DISABLE='1')  # read by what is imported

import torch
import triton
from peers.contenders import PLAIN, Contender, contenders
from peers.timing import Setting, _Run
from torch import Tensor, nn

from se_det.layers import Padding, SqueezeExcitation
from se_det.layers.tail_cuda import cuda_tail

TINY = '--tiny' in sys.argv
DEVICE = 'cpu' if TINY else 'cuda'
START = time.monotonic()
SE_LAYER, LAYERS, FUSED = "mmdet + mmdet's SELayer", 'se_det, fused=False', 'se_det, fused=True'
EAGER = PLAIN, SE_LAYER, LAYERS, FUSED
PADDED = ', padded batch'
COMPILED = ', compiled'
WARM_UP = 3


@dataclass(frozen=True)
class Measurement:
    """A setting in which contenders are timed.

    Attributes:
        setting: as in `peers.timing`.
        names: contenders, some with `PADDED` or `COMPILED` behind the name.
        goal: of the time of `FUSED` to that of plain.
        memory_goal: of the peak memory of `FUSED` to that of plain.
        seconds: what it takes at least.
        channels_last: whether weights and images are.
    """

    setting: Setting
    names: Sequence[str]
    goal: float
    memory_goal: float | None = None
    seconds: float = 25
    channels_last: bool = False

    def __str__(self) -> str:
        return f'{self.setting}{", channels_last" if self.channels_last else ""}'


@dataclass
class Row:
    """A line of the table; times in ms, memory in MB, errors in norm."""

    setting: str
    name: str
    ms: float | None = None
    ratio: float | None = None
    goal: float | None = None
    peak: float | None = None
    peak_ratio: float | None = None
    kernels: int | None = None
    kernels_ms: float | None = None
    note: str = ''


def measurements() -> list[Measurement]:
    """All settings, the most important first."""
    small, large = dict(batch=2, size=(800, 1344)), dict(batch=16, size=(512, 832))
    if TINY:
        small = large = dict(batch=2, size=(64, 64))
    fp32, amp = dict(device=DEVICE), dict(device=DEVICE, precision='bf16' if TINY else 'fp16')
    both = *EAGER, LAYERS + PADDED, FUSED + PADDED
    of_compiled = tuple(name + COMPILED for name in (PLAIN, LAYERS, FUSED))
    last = dict(channels_last=True)
    inference = dict(mode='inference')
    return [
        Measurement(Setting(**small, **fp32), both, 1.0, 0.95),
        Measurement(Setting(**large, **amp), EAGER, 1.0, 0.95, **last),
        Measurement(Setting(**small, **amp), both, 1.05, 0.95, **last),
        Measurement(Setting(**large, **fp32), EAGER, 1.0, 0.95),
        Measurement(Setting(**small, **fp32, **inference), both, 0.95),
        Measurement(Setting(**small, **amp, **inference), EAGER, 0.95, **last),
        Measurement(Setting(**small, **fp32, detector=True), EAGER, 1.02),
        Measurement(Setting(**small, **amp), of_compiled, 1.05, None, 150, **last),
        Measurement(Setting(**small, **fp32, from_scratch=True), EAGER, 1.0),
        Measurement(Setting(**small, **amp, **inference), of_compiled, 1.0, None, 100, **last),
    ]


def measure(measurement: Measurement, rounds: int) -> Iterable[Row]:
    """Time contenders, in a new order each round."""
    setting = measurement.setting
    known = contenders(setting.backbone, setting.from_scratch)
    images = torch.randn(setting.batch, 3, *setting.size, device=DEVICE)
    padded = images.clone()
    padded[0, :, :, -images.shape[3] // 8 :] = 0
    padded[1:, :, -images.shape[2] // 8 :] = 0
    torch.compiler.reset()
    runs = {}
    for name in measurement.names:
        contender = Contender(
            known[name.removesuffix(PADDED).removesuffix(COMPILED)].build,
            channels_last=measurement.channels_last,
        )
        try:
            run = _Run(
                contender,
                padded if name.endswith(PADDED) else images,
                setting,
                compiled=name.endswith(COMPILED),
            )
            for _ in range(WARM_UP):
                run.step(timed=False)
        except Exception as error:  # the others are measured
            traceback.print_exc()
            yield Row(str(measurement), name, note=type(error).__name__)
        else:
            runs[name] = run
    for _ in range(rounds):
        for run in random.sample(list(runs.values()), len(runs)):
            run.step(timed=True)
    plain = runs.get(measurement.names[0])
    for name, run in runs.items():
        row = Row(str(measurement), name, 1e3 * statistics.median(run.seconds))
        if plain:
            row.ratio = statistics.median(
                a / b for a, b in zip(run.seconds, plain.seconds, strict=True)
            )
        if name.startswith(FUSED):
            row.goal = measurement.goal
        if run.peak_bytes:
            row.peak = run.peak_bytes / 1e6
            row.peak_ratio = run.peak_bytes / plain.peak_bytes if plain else None
            if name.startswith(FUSED) and measurement.memory_goal:
                row.note = f'memory at most {measurement.memory_goal}'
            row.kernels, row.kernels_ms = kernels_of(run)
        yield row


def kernels_of(run: _Run) -> tuple[int, float]:
    """How many kernels a step launches, and the ms that they take."""
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        run.step(timed=False)
        torch.cuda.synchronize()
    kernels = [
        event
        for event in profile.events()
        if event.device_type is torch.autograd.DeviceType.CUDA
        and not event.name.startswith(('Memcpy', 'Memset'))
    ]
    return len(kernels), sum(event.device_time for event in kernels) / 1e3


def correctness(seconds: float) -> Iterable[Row]:
    """The largest errors of the kernels, of output, gradients and statistics, by precision.

    Most of the time goes into compiling; what does not fit into these seconds is left out.
    """
    end = time.monotonic() + seconds
    errors: dict[torch.dtype, list[float]] = {}
    shapes = [(2, 256, 50, 84), (3, 48, 7, 5), (2, 2048, 13, 21)]
    dtypes = torch.float32, torch.float16, torch.bfloat16
    for shape in [(2, 16, 5, 7)] if TINY else shapes:
        for dtype, last, training, masked in product(dtypes, *[(False, True)] * 3):
            if time.monotonic() < end:
                error = error_of(shape, dtype, last, training, masked)
                errors.setdefault(dtype, []).append(error)
    for dtype, found in errors.items():
        note = f'largest error {max(found):.1e} of {len(found)} cases'
        yield Row('kernels against float64', str(dtype)[6:], note=note)


def error_of(
    shape: tuple[int, ...], dtype: torch.dtype, last: bool, training: bool, masked: bool
) -> float:
    """The largest error in norm of a tail, inf if there is a NaN."""
    torch.manual_seed(0)
    norm, se = nn.BatchNorm2d(shape[1]), SqueezeExcitation(shape[1])
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    norm.train(training)
    v, identity, gradient = (torch.randn(shape) * scale for scale in (2, 1, 1))
    form = torch.channels_last if last else torch.contiguous_format
    v, identity, gradient = (
        x.to(DEVICE, dtype).contiguous(memory_format=form) for x in (v + 3, identity, gradient)
    )
    ends = torch.stack([torch.randint(1, edge + 1, shape[:1]) for edge in shape[2:]], 1)
    padding = Padding.of(ends.to(DEVICE), v) if masked else None
    found, expected = (
        outcome(tail, v.to(kind), identity.to(kind), gradient.to(kind), norm, se, padding)
        for tail, kind in ((cuda_tail, dtype), (by_layers, torch.float64))
    )
    errors = [
        ((a.double() - b).norm() / b.norm().clamp(min=1e-9)).item()
        for a, b in zip(found, expected, strict=True)
    ]
    return max(error if error == error else float('inf') for error in errors)


def by_layers(
    v: Tensor, identity: Tensor, norm: nn.Module, se: nn.Module, padding: Padding | None
) -> Tensor:
    """The tail of a block, layer by layer."""
    return torch.relu(identity + se(norm(v), padding))


def outcome(
    tail: Callable[..., Tensor],
    v: Tensor,
    identity: Tensor,
    gradient: Tensor,
    norm: nn.Module,
    se: nn.Module,
    padding: Padding | None,
) -> list[Tensor]:
    """The output, all gradients and the running statistics."""
    precision = torch.float64 if v.dtype is torch.float64 else torch.float32
    norm, se = (copy.deepcopy(layer).to(DEVICE, precision) for layer in (norm, se))
    inputs = [v.requires_grad_(), identity.requires_grad_(), *norm.parameters(), *se.parameters()]
    y = tail(v, identity, norm, se, padding)
    gradients = torch.autograd.grad(y, inputs, gradient)
    return [y.detach(), *gradients, norm.running_mean, norm.running_var]


def tests(seconds: float) -> Iterable[Row]:
    """Run the tests that need a GPU, and kill and resume a training on it."""
    environment = dict(os.environ, CUBLAS_WORKSPACE_CONFIG=':4096:8')  # for deterministic sums
    end = time.monotonic() + seconds
    for command in (
        ['-m', 'pytest', '-q', '-m', 'long or not long', 'tests/backbones/test_cuda.py'],
        ['tools/dev/prove_resume.py', '--kills', '1', '--deterministic'],
    ):
        try:
            ended = subprocess.run(
                [sys.executable, *command],
                env=environment,
                capture_output=True,
                text=True,
                timeout=max(end - time.monotonic(), 1),
            )
        except subprocess.TimeoutExpired:
            yield Row('tests', command[-1], note='no time')
        else:
            print(ended.stdout[-4000:], ended.stderr[-4000:], flush=True)
            last = (ended.stdout.strip() or ended.stderr.strip()).splitlines()[-1]
            yield Row('tests', ' '.join(command), note=f'status {ended.returncode}: {last}')


def as_table(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    title = (
        '| setting | contender | ms | to plain | goal | kernels | their ms | peak MB | to plain | |'
    )
    lines = [title, '|---' * 10 + '|']
    for row in rows:
        cells = [
            row.setting,
            row.name,
            *(
                '' if value is None else f'{value:.{digits}f}'
                for value, digits in (
                    (row.ms, 2),
                    (row.ratio, 3),
                    (row.goal, 2),
                    (row.kernels, 0),
                    (row.kernels_ms, 2),
                    (row.peak, 0),
                    (row.peak_ratio, 3),
                )
            ),
            row.note,
        ]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    """Parse the arguments, measure what there is time for, write as it goes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--minutes', type=float, default=9.5)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--only', nargs='+', default=[''], help='parts of the names of settings')
    parser.add_argument(
        '--tiny',
        action='store_true',
        help='rehearse on a CPU: interpreted kernels, tiny maps, nothing compiled',
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    end = START + 60 * args.minutes
    card = 'CPU' if TINY else torch.cuda.get_device_name()
    head = f'{card}, torch {torch.__version__}, triton {triton.__version__}'
    rows: list[Row] = []
    steps = [
        ('kernels against float64', 100, lambda: correctness(90)),
        *((str(m), m.seconds, partial(measure, m, args.rounds)) for m in measurements()),
        ('tests', 30, lambda: tests(end - time.monotonic())),
    ]
    for title, seconds, step in steps:
        if not any(part in title for part in args.only):
            continue
        if end - time.monotonic() < seconds:
            rows.append(Row(title, '', note='left out: no time'))
        else:
            print(f'[{time.monotonic() - START:.0f} s] {title}', flush=True)
            try:
                rows += step()
            except Exception as error:  # the next setting is measured
                traceback.print_exc()
                rows.append(Row(title, '', note=f'{type(error).__name__}: {error}'.split('\n')[0]))
        (args.out / 'table.md').write_text(f'{head}\n\n{as_table(rows)}\n')
        (args.out / 'results.json').write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print((args.out / 'table.md').read_text())


if __name__ == '__main__':
    main()
