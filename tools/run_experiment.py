#!/usr/bin/env python3
"""Train the arms of a plan on the same seeds and compare them: tools/run_experiment.py PLAN."""

import argparse
import signal
import sys
from pathlib import Path

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, train and compare."""
    parser = argparse.ArgumentParser(
        description='Train the arms of a plan on the same seeds and compare them. After a '
        'kill, start it again: it continues.'
    )
    parser.add_argument('plan', help='a plan, such as configs/experiments/shapes_scratch.py')
    parser.add_argument('--work-dir', help='default work_dirs/<name of the plan>')
    parser.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='how many runs train at once; more runs than GPUs share them',
    )
    parser.add_argument(
        '--gpus-per-run', type=int, default=1, help='GPUs (without any: processes) for each run'
    )
    parser.add_argument('--slurm', metavar='PARTITION', help='train in jobs of Slurm')
    parser.add_argument('--srun-args', nargs='*', default=[], help='further arguments of srun')
    parser.add_argument('--arms', nargs='+', help='train and compare these alone')
    parser.add_argument(
        '--seeds',
        type=int,
        help='no more than the first so many; no verdict unless the plan has a look there',
    )
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # an exit stops the runs
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with usage_errors_alone():
        from se_det.engine.experiments.display import Display
        from se_det.engine.experiments.experiment import Experiment
        from se_det.engine.experiments.plan import read_plan
        from se_det.engine.experiments.start_process import Launcher
        from se_det.files import write_json
        from se_det.report.comparison_page import write_comparison_page
        from se_det.report.page import command

        launcher = Launcher(
            arguments.jobs, arguments.gpus_per_run, arguments.slurm, tuple(arguments.srun_args)
        )
        launcher.check()
        plan = read_plan(arguments.plan).only(arguments.arms, arguments.seeds)
        experiment = Experiment(plan, arguments.work_dir or Path('work_dirs', plan.name))
        validation = experiment.check()
        with Display(experiment, launcher.jobs) as display:
            experiment.train(launcher, display.update)
        if len(codes := experiment.codes()) > 1:
            print('Runs were trained by different code:')
            for code, runs in codes.items():
                print(f'- {code}: {"; ".join(map(str, runs))}')
        if interim := plan.interim(len(plan.seeds)):
            print(
                f'{interim}: no verdict. It takes {" or ".join(map(str, plan.looks))} seeds; '
                'start again with as many. Earlier looks have to be in the plan before the first '
                'run, such as looks = [3, 5].'
            )
            return
        for arms in plan.comparisons:
            comparison = experiment.compare(arms, validation)
            baseline, candidate = arms
            folder = experiment.work_dir / f'{candidate}_against_{baseline}'
            write_json(folder / 'comparison.json', comparison.to_dict())
            page = write_comparison_page(
                folder,
                comparison,
                *map(experiment.detections, arms),
                validation.ann_file,
                classes=validation.classes,
                images=validation.images,
                sides=arms,
                seeds=plan.seeds,
                configs=tuple(experiment.runs[arm, plan.seeds[0]].cfg for arm in arms),
                commands=[command()],
            )
            print(f'\n# {candidate} against {baseline}\n\n{comparison.to_table()}\n\n{page}')


if __name__ == '__main__':
    main()
