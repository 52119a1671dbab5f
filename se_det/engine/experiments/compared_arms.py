"""The comparison of the arms of an experiment, on the same seeds and images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from se_det.engine.experiments.experiment import Experiment, Validation
from se_det.evaluation import Comparison, compare_runs
from se_det.files import write_json


@dataclass(frozen=True)
class ComparedArms:
    """Two arms of an experiment.

    Attributes:
        baseline: name of an arm.
        candidate: name of the other.
        configs: of both, for the first seed.
        files: the result files of both, one for each seed.
        comparison: of `compare_runs`.
        folder: where ``comparison.json`` is, below the folder of the experiment.
    """

    baseline: str
    candidate: str
    configs: tuple[Config, Config]
    files: tuple[list[Path], list[Path]]
    comparison: Comparison
    folder: Path

    def __str__(self) -> str:
        return f'# {self.candidate} against {self.baseline}\n\n{self.comparison.to_table()}\n'


def compare_arms(experiment: Experiment, validation: Validation) -> Iterator[ComparedArms]:
    """Compare the pairs of arms in the plan, when all runs of a look have finished.

    Args:
        experiment: whose runs have finished.
        validation: the data that they were validated on.

    Yields:
        Each pair of arms, after its values were written to
        ``<work_dir>/<candidate>_against_<baseline>/comparison.json``.

    Raises:
        UsageError: as `compare_runs` does.
    """
    plan = experiment.plan
    for arms in plan.comparisons:
        files = tuple(
            [experiment.runs[arm, seed].detections for seed in plan.seeds] for arm in arms
        )
        configs = tuple(experiment.configs[experiment.runs[arm, plan.seeds[0]]] for arm in arms)
        comparison = compare_runs(
            *files,
            validation.ann_file,
            classes=validation.classes,
            group_by=plan.group_by,
            paired=plan.paired,
            looks=plan.looks,
        )
        baseline, candidate = arms
        folder = experiment.work_dir / f'{candidate}_against_{baseline}'
        write_json(folder / 'comparison.json', comparison.to_dict())
        yield ComparedArms(baseline, candidate, configs, files, comparison, folder)
