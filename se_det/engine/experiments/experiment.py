"""Trains all runs of a plan, and compares them; after a kill it continues."""

import os
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from se_det.engine.experiments.plan import START, Plan
from se_det.engine.experiments.run_folder import OUTPUT, Run, State
from se_det.engine.experiments.start_process import Launcher
from se_det.engine.launch import find_data_folders
from se_det.engine.start.data import check_data
from se_det.engine.start.preprocessing import check_preprocessing
from se_det.errors import UsageError
from se_det.evaluation import Comparison, compare_runs
from se_det.files import check_folder

LOOK_AGAIN = 0.5  # seconds


@dataclass(frozen=True)
class Validation:
    """The data that runs are validated on.

    Attributes:
        ann_file: its annotations.
        classes: those of the annotations that are evaluated; None for all.
        images: the folder of its images.
    """

    ann_file: str
    classes: tuple[str, ...] | None
    images: str


class Experiment:
    """The runs of a plan, each in a folder of its own: ``<work_dir>/<arm>/seed_<seed>``.

    Args:
        plan: the plan.
        work_dir: the folder of the experiment.

    Raises:
        UsageError: a config of the plan cannot be read, an option does not fit it, or the folder
            cannot be written to or has runs of another config or without a whole result.
    """

    def __init__(self, plan: Plan, work_dir: str | Path) -> None:
        self.plan = plan
        self.work_dir = Path(work_dir)
        check_folder(self.work_dir)
        self.runs: dict[tuple[str, int], Run] = {}
        for arm, seed in plan.runs():
            start = self._start_of(arm, seed)
            cfg = plan.config(arm, seed, str(start.checkpoint) if start else plan.load_from)
            run = Run(arm, seed, self.work_dir / arm / f'seed_{seed}', cfg)
            run.check()
            self.runs[arm, seed] = run

    def check(self) -> Validation:
        """Check the data of all arms before anything is trained.

        Returns:
            The data that all arms are validated on.

        Raises:
            UsageError: data or classes are not the config's, or arms are validated on other data.
        """
        found = {}
        for run in self.runs.values():
            if run.arm not in found:
                cfg = deepcopy(run.cfg)
                find_data_folders(cfg._cfg_dict)
                init_default_scope(cfg.get('default_scope', 'mmdet'))
                check_preprocessing(cfg)
                check_data(cfg, ('train', 'val'))
                found[run.arm] = _validation(cfg)
        first, *others = found.values()
        if first is None or any(other != first for other in others):
            files = {arm: data and data.ann_file for arm, data in found.items()}
            raise UsageError(
                f'{self.plan.name}: all arms have to be validated by a CocoMetric on the same '
                f'ann_file and classes; found {files}.'
            )
        return first

    def train(self, launcher: Launcher, show: Callable[[], None]) -> None:
        """Train the runs that are not finished.

        Args:
            launcher: where to train.
            show: called after each check of the runs.

        Raises:
            UsageError: a run failed, and later runs of its arm were not started; or the checkpoint
                that runs start from was deleted.
        """
        try:
            while True:
                running = [run for run in self.runs.values() if run.state is State.RUNNING]
                self._tidy()
                startable = self._startable()
                free = sorted({*range(launcher.jobs)} - {run.slot for run in running})
                for run, slot in zip(startable, free, strict=False):
                    command, environment = launcher.command(f'{run.arm}-{run.seed}', slot)
                    run.start(command, environment, slot)
                show()
                if not running and not startable:
                    break
                time.sleep(LOOK_AGAIN)
        finally:
            for run in self.runs.values():
                run.stop()
            for run in self.runs.values():
                run.wait()
        if failed := [run for run in self.runs.values() if run.state is State.FAILED]:
            output = failed[0].folder / OUTPUT
            last_lines = '\n'.join(output.read_text(errors='ignore').splitlines()[-15:])
            raise UsageError(
                f'{"; ".join(map(str, failed))} failed. {output} ends:\n{last_lines}\n'
                'What is finished stays. Start the same command again to go on.'
            )
        for run in self.runs.values():
            if run.state is State.WAITING:
                folder = self._start_of(run.arm, run.seed).folder
                raise UsageError(
                    f'{run} starts from the checkpoint of {folder}, which is finished, but its '
                    'checkpoint.pth is not there. Delete that folder to train it anew.'
                )

    def detections(self, arm: str) -> list[Path]:
        """The result files of an arm, one for each seed."""
        return [self.runs[arm, seed].detections for seed in self.plan.seeds]

    def compare(self, arms: tuple[str, str], validation: Validation) -> Comparison:
        """Compare two arms, when all runs of a look have finished.

        Args:
            arms: baseline and candidate.
            validation: the data that they were validated on.

        Raises:
            UsageError: as `compare_runs` does.
        """
        return compare_runs(
            *map(self.detections, arms),
            validation.ann_file,
            classes=validation.classes,
            group_by=self.plan.group_by,
            paired=self.plan.paired,
            looks=self.plan.looks,
        )

    def codes(self) -> dict[str, list[Run]]:
        """The finished runs by the versions of the code that trained them; there should be one."""
        found = {}
        for run in self.runs.values():
            if run.state is State.FINISHED:
                found.setdefault(run.result.get('code', 'not known'), []).append(run)
        return found

    def _start_of(self, arm: str, seed: int) -> Run | None:
        """The run whose checkpoint that of an arm and a seed starts from."""
        if self.plan.start is None or arm == START:
            return None
        return self.runs[START, self.plan.start_seed(seed)]

    def _startable(self) -> list[Run]:
        failed = {run.arm for run in self.runs.values() if run.state is State.FAILED}
        return [
            run
            for run in self.runs.values()
            if run.state is State.WAITING
            and run.arm not in failed
            and ((start := self._start_of(run.arm, run.seed)) is None or start.checkpoint.exists())
        ]

    def _tidy(self) -> None:
        for run in self.runs.values():
            if run.state is State.FINISHED:
                run.tidy(self.plan.keep_checkpoints or run.arm == START)


def _validation(cfg: Config) -> Validation | None:
    evaluators = cfg.val_evaluator if isinstance(cfg.val_evaluator, list) else [cfg.val_evaluator]
    for evaluator in evaluators:
        if str(evaluator.type).endswith('CocoMetric') and evaluator.get('ann_file'):
            dataset = cfg.val_dataloader.dataset
            folder = dataset.get('data_prefix', {}).get('img') or dataset.get('split', '')
            return Validation(
                ann_file=evaluator.ann_file,
                classes=dataset.get('metainfo', {}).get('classes'),
                images=os.path.join(dataset.get('data_root', ''), folder),
            )
    return None
