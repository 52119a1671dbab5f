#!/usr/bin/env python3
"""Compile the Triton kernels without a GPU: registers, spilled bytes, width of loads and stores.

One line for each kernel, architecture and precision of the maps, over both memory formats, both
modes of the norm, with and without padding.
"""

import argparse
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from se_det.layers import tail_cuda, tail_kernels

MAPS = {'v', 'identity', 'y', 'gradient', 'of_identity', 'of_v'}
COUNTS = {'images', 'channels', 'hidden', 'pixels', 'width', 'splits'}
NAMES = {torch.float32: 'fp32', torch.float16: 'fp16', torch.bfloat16: 'bf16'}
DISASSEMBLER = Path(triton.__file__).parent / 'backends/nvidia/bin'


def compiled(name: str, v: torch.Tensor, plan: tail_cuda._Plan, arch: int) -> CompiledKernel:
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
            specialized = argument not in (kernel.do_not_specialize or ())
            if specialized and values.get(argument, 1) % 16 == 0:
                attributes[index,] = [['tt.divisibility', 16]]
        elif argument == 'eps':
            signature[argument] = 'fp32'
        else:
            signature[argument] = f'*{NAMES[v.dtype] if argument in MAPS else "fp32"}'
            attributes[index,] = [['tt.divisibility', 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget('cuda', arch, 32))


def usage(kernel: CompiledKernel) -> tuple[int, int, int]:
    """Registers of a thread, bytes that it spills, and bits of its widest load or store."""
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(kernel.asm['cubin'])
        file.flush()
        resources = _output('cuobjdump', '-res-usage', file.name)
        code = _output('nvdisasm', '-c', file.name)
    widths = re.findall(r'\b(?:LDG|STG)\.E(?:\.(128|64|U16|U8))?\b', code)
    registers, spilled = (
        int(re.search(rf'{name}:(\d+)', resources)[1]) for name in ('REG', 'STACK')
    )
    return registers, spilled, max(int(width.strip('U') or 32) for width in widths)


def _output(tool: str, *arguments: str) -> str:
    found = subprocess.run([DISASSEMBLER / tool, *arguments], capture_output=True, text=True)
    return found.stdout + found.stderr


def main() -> None:
    """Parse the arguments, compile, print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--archs', type=int, nargs='+', default=[80, 90], help='sm_XX')
    parser.add_argument('--size', type=int, nargs=4, default=(2, 256, 200, 336), help='N C H W')
    parser.add_argument('--dtypes', nargs='+', default=[*NAMES.values()])
    args = parser.parse_args()
    print('| kernel | sm | maps | registers | spilled, bytes | widest access, bits |')
    print('|---|---|---|---|---|---|')
    for arch, (dtype, name) in product(args.archs, NAMES.items()):
        found: dict[str, list[tuple[int, int, int]]] = {}
        seen = set()
        for last, training, masked in product((False, True), repeat=3):
            if name not in args.dtypes:
                continue
            v = torch.empty(args.size, dtype=dtype, device='meta')
            if last:
                v = v.to(memory_format=torch.channels_last)
            plan = tail_cuda._Plan(v, max(v.shape[1] // 16, 1), training, masked)
            for kernel, (_, constants) in plan._launches.items():
                case = kernel, *constants.values()
                if case not in seen:
                    seen.add(case)
                    found.setdefault(kernel, []).append(usage(compiled(kernel, v, plan, arch)))
        for kernel, cases in found.items():
            registers, spilled, widest = zip(*cases, strict=True)
            few, most = min(registers), max(registers)
            shown = few if few == most else f'{few} to {most}'
            row = kernel, arch, name, shown, max(spilled), min(widest)
            print('| ' + ' | '.join(map(str, row)) + ' |', flush=True)


if __name__ == '__main__':
    main()
