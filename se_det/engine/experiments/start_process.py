"""How the process of a run is started: on this machine, or by Slurm."""

import os
import shutil
import sys
from dataclasses import dataclass

import torch

from se_det.config_files import TOOLS
from se_det.engine.experiments.run_folder import CONFIG
from se_det.errors import UsageError

GPUS_PER_NODE = 8
FIRST_PORT = 29500


@dataclass(frozen=True)
class Launcher:
    """Where runs train, and how many at once.

    Attributes:
        jobs: how many runs train at the same time. On this machine, a run on several GPUs has them
            to itself; runs on one GPU each share them if there are more runs than GPUs.
        gpus_per_run: how many GPUs, or without a GPU how many processes, train one run.
        slurm: the partition whose nodes train; None trains on this machine.
        srun_args: further arguments of ``srun``.
    """

    jobs: int = 1
    gpus_per_run: int = 1
    slurm: str | None = None
    srun_args: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that this machine has the devices.

        Raises:
            UsageError: there are fewer GPUs than runs on several GPUs need, or there is no Slurm.
        """
        needed, found = self.jobs * self.gpus_per_run, torch.cuda.device_count()
        if min(self.jobs, self.gpus_per_run) < 1:
            raise UsageError('--jobs and --gpus-per-run are 1 or more.')
        if self.slurm is not None and not shutil.which('srun'):
            raise UsageError(
                'srun is not on this machine. Leave --slurm out, or start this where Slurm is.'
            )
        if self.slurm is None and self.gpus_per_run > 1 and 0 < found < needed:
            raise UsageError(
                f'{self.jobs} runs at once on {self.gpus_per_run} GPUs each need {needed} GPUs; '
                f'this machine has {found}. Lower --jobs or --gpus-per-run.'
            )

    def command(self, name: str, slot: int) -> tuple[list[str], dict[str, str]]:
        """The command that trains a run, and its environment.

        Args:
            name: what to call the job.
            slot: which of the ``jobs`` it is.
        """
        environment = dict(os.environ)
        train = str(TOOLS / 'train.py')
        if self.slurm is not None:
            on_node = min(self.gpus_per_run, GPUS_PER_NODE)
            srun = ['srun', f'--partition={self.slurm}', f'--job-name={name}', *self.srun_args]
            srun += [f'--gres=gpu:{on_node}', f'--ntasks={self.gpus_per_run}']
            srun += [f'--ntasks-per-node={on_node}', '--kill-on-bad-exit=1']
            return [*srun, sys.executable, '-u', train, CONFIG, '--launcher=slurm'], environment
        if count := torch.cuda.device_count():
            visible = os.environ.get('CUDA_VISIBLE_DEVICES')
            devices = visible.split(',')[:count] if visible else [*map(str, range(count))]
            first = slot * self.gpus_per_run % count
            chosen = devices[first : first + self.gpus_per_run]
            environment['CUDA_VISIBLE_DEVICES'] = ','.join(chosen)
        if self.gpus_per_run == 1:
            return [sys.executable, train, CONFIG], environment
        environment.update(PYTHON=sys.executable, PORT=str(FIRST_PORT + slot))
        script = str(TOOLS / 'dist_train.sh')
        return [script, CONFIG, str(self.gpus_per_run)], environment
