#!/usr/bin/env python3
"""Compile the Triton kernels without a GPU: registers, spilled bytes, width of the map's loads."""

import argparse
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from se_det.layers import tail_cuda, tail_kernels

MAPS = {'v', 'identity', 'y', 'gradient', 'of_identity', 'of_v'}
COUNTS = {'images', 'channels', 'hidden', 'pixels', 'width', 'splits'}
NAMES = {torch.float32: 'fp32', torch.float16: 'fp16', torch.bfloat16: 'bf16'}
DISASSEMBLER = Path(triton.__file__).parent / 'backends/nvidia/bin'


def compiled(name: str, v: torch.Tensor, plan: tail_cuda._Plan, target: GPUTarget) -> object:
    """A kernel as a launch for the map ``v`` compiles it."""
    kernel = getattr(tail_kernels, name)
    _, constants = plan._launches[name]
    values = dict(zip(('images', 'channels', 'hidden', 'pixels', 'width'), plan.sizes, strict=True))
    signature, attributes = {}, {}
    for index, argument in enumerate(kernel.arg_names):
        if argument in constants:
            signature[argument] = 'constexpr'
        elif argument in COUNTS:
            signature[argument] = 'i32'
            specialized = argument not in getattr(kernel, 'do_not_specialize', ())
            if specialized and values.get(argument, 1) % 16 == 0:
                attributes[index,] = [['tt.divisibility', 16]]
        elif argument == 'eps':
            signature[argument] = 'fp32'
        else:
            signature[argument] = f'*{NAMES[v.dtype] if argument in MAPS else "fp32"}'
            attributes[index,] = [['tt.divisibility', 16]]
    return triton.compile(ASTSource(kernel, signature, constants, attributes), target=target)


def report(kernel: object) -> tuple[int, int, str]:
    """Registers of a thread, bytes that it spills, and the widths of loads and stores in bits."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(kernel.asm['cubin'])
        file.flush()
        usage = _output('cuobjdump', '-res-usage', file.name)
        code = _output('nvdisasm', '-c', file.name)
    spilled = sum(4 for _ in re.finditer(r'\b(?:LDL|STL)\b', code))
    widths = re.findall(r'\b(?:LDG|STG)\.E(?:\.(128|64|U16|U8))?\b', code)
    found = {}
    for width in widths:
        bits = int(width.strip('U') or 32)
        found[bits] = found.get(bits, 0) + 1
    shown = ', '.join(f'{count} x {bits}' for bits, count in sorted(found.items(), reverse=True))
    return int(re.search(r'REG:(\d+)', usage)[1]), spilled, shown


def _output(tool: str, *arguments: str) -> str:
    found = subprocess.run([DISASSEMBLER / tool, *arguments], capture_output=True, text=True)
    return found.stdout + found.stderr


def main() -> None:
    """Parse the arguments, compile, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--archs', type=int, nargs='+', default=[80, 90], help='sm_XX')
    parser.add_argument('--size', type=int, nargs=4, default=(2, 256, 200, 336), help='N C H W')
    parser.add_argument('--dtypes', nargs='+', default=[*NAMES.values()])
    parser.add_argument('--kernels', nargs='+', help='default: all')
    args = parser.parse_args()
    print('| kernel | sm | map | norm | padding | registers | spilled | loads and stores, bits |')
    print('|---|---|---|---|---|---|---|---|')
    for arch, (dtype, name), last in product(args.archs, NAMES.items(), (False, True)):
        if name not in args.dtypes:
            continue
        v = torch.empty(args.size, dtype=dtype, device='meta')
        if last:
            v = v.to(memory_format=torch.channels_last)
        seen = set()
        for training, masked in product((False, True), repeat=2):
            plan = tail_cuda._Plan(v, max(v.shape[1] // 16, 1), training, masked)
            for kernel, (_, constants) in plan._launches.items():
                case = kernel, *constants.values()
                if case in seen or (args.kernels and kernel not in args.kernels):
                    continue
                seen.add(case)
                found = report(compiled(kernel, v, plan, GPUTarget('cuda', arch, 32)))
                row = (
                    kernel,
                    arch,
                    f'{name} {"channels_last" if last else "contiguous"}',
                    'training' if constants.get('TRAINING') else '',
                    'yes' if constants.get('MASKED') else '',
                    *found,
                )
                print('| ' + ' | '.join(map(str, row)) + ' |', flush=True)


if __name__ == '__main__':
    main()
