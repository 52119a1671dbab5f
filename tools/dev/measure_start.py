#!/usr/bin/env python3
"""Measure what a training takes up to its first iteration, beside MMDetection's own Runner.

Both train one iteration of the config, without validation. CPU seconds are those of all processes
of a run, memory is the peak of the largest one. The first run of se_det checks the annotation
files, later ones know them.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
ONE_ITERATION = """
_base_ = {config!r}
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=1)
val_cfg = val_dataloader = val_evaluator = None
test_cfg = test_dataloader = test_evaluator = None
param_scheduler = []
custom_hooks = []
default_hooks = dict(checkpoint=dict(_delete_=True, type='CheckpointHook', interval=9))
"""
PLAIN_RUNNER = """
import sys, se_det
from mmengine.config import Config
from mmengine.runner import Runner
from se_det.engine.distributed import join_process_group

cfg = Config.fromfile(sys.argv[1])
cfg.work_dir, cfg.launcher = sys.argv[2:4]
join_process_group(cfg, cfg.launcher)
Runner.from_cfg(cfg).train()
"""


def measure(program: list[str], processes: int, hub: Path) -> str:
    """Run a program once; returns its CPU seconds, seconds and memory as columns of a table."""
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    start = time.perf_counter()
    with (hub / 'output.txt').open('w') as output:
        child = subprocess.Popen(
            [*torchrun, f'--nproc-per-node={processes}', *program],
            cwd=ROOT,
            env={**os.environ, 'TORCH_HOME': str(hub), 'OMP_NUM_THREADS': '1'},
            stdout=output,
            stderr=output,
        )
        _, status, used = os.wait4(child.pid, 0)  # with the children that it waited for
    if status:
        sys.exit((hub / 'output.txt').read_text())
    seconds = time.perf_counter() - start
    return f'{used.ru_utime + used.ru_stime:.0f} | {seconds:.0f} | {used.ru_maxrss / 1e6:.1f}'


def main() -> None:
    """Parse the arguments, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('config')
    parser.add_argument('--processes', type=int, nargs='+', default=[1])
    arguments = parser.parse_args()
    print('| | processes | CPU s | s | GB of the largest process |\n|---|---|---|---|---|')
    for processes in arguments.processes:
        with TemporaryDirectory() as folder:
            folder = Path(folder)
            child, plain = folder / 'child.py', folder / 'plain.py'
            config = str(Path(arguments.config).resolve())
            child.write_text(ONE_ITERATION.format(config=config))
            plain.write_text(PLAIN_RUNNER)
            ours = [str(ROOT / 'tools/train.py'), str(child), '--launcher', 'pytorch', '--work-dir']
            for name, program in {
                'MMDetection': [str(plain), str(child), str(folder / 'plain'), 'pytorch'],
                'se_det, new files': [*ours, str(folder / 'new')],
                'se_det, known files': [*ours, str(folder / 'known')],
            }.items():
                columns = measure(program, processes, folder)
                print(f'| {name} | {processes} | {columns} |', flush=True)


if __name__ == '__main__':
    main()
