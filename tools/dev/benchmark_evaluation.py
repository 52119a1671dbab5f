#!/usr/bin/env python3
"""Check comparison and plans: tools/dev/benchmark_evaluation.py speed|coverage|power."""

import argparse
from tempfile import TemporaryDirectory

from tools._command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description='Speed and memory of compare_runs beside pycocotools and hotcoco; '
        'how often its intervals hold a known true difference; how often planned '
        'experiments show it'
    )
    commands = parser.add_subparsers(required=True, dest='command')
    speed_parser = commands.add_parser('speed', help="results of val2017's size")
    speed_parser.add_argument('--images', type=int, default=5000)
    speed_parser.add_argument('--categories', type=int, default=80)
    speed_parser.add_argument('--detections', type=int, default=100, help='an image')
    speed_parser.add_argument('--resamples', type=int, default=1000)
    speed_parser.add_argument('--workers', type=int, default=2)
    coverage_parser = commands.add_parser('coverage', help='of intervals of nominally 95 %%')
    coverage_parser.add_argument('--trials', type=int, default=500)
    coverage_parser.add_argument('--images', type=int, default=100)
    coverage_parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3, 5])
    power_parser = commands.add_parser('power', help='planned from a pilot, and observed')
    power_parser.add_argument('--experiments', type=int, default=200)
    power_parser.add_argument('--images', type=int, nargs='+', default=[100, 200])
    power_parser.add_argument('--seeds', type=int, nargs='+', default=[3, 5])
    arguments = vars(parser.parse_args())
    command = dict(speed=speed, coverage=cover, power=power)[arguments.pop('command')]
    with usage_errors_alone():
        command(**arguments)


def speed(images: int, categories: int, detections: int, resamples: int, workers: int) -> None:
    """Print time and memory."""
    from evaluation_checks.speed import costs, write_made_up

    print('| | seconds | GB |\n|---|---|---|')
    with TemporaryDirectory() as folder:
        files = write_made_up(folder, images, categories, detections)
        for cost in costs(*files, resamples=resamples, workers=workers):
            print(f'| {cost.what} | {cost.seconds:.1f} | {cost.gigabytes:.2f} |', flush=True)


def cover(trials: int, images: int, seeds: list[int]) -> None:
    """Print how often intervals hold the true difference."""
    from evaluation_checks.simulation import Arms
    from evaluation_checks.trials import coverage

    print('| seeds a side | interval | holds the true difference |\n|---|---|---|')
    for count in seeds:
        arms = Arms(spread=0.05 if count > 1 else 0.0)
        found = coverage(arms, trials=trials, images=images, seeds=count)
        for kind, share in found.items():
            print(f'| {count} | {kind} | {share:.1%} |', flush=True)


def power(experiments: int, images: list[int], seeds: list[int]) -> None:
    """Print planned and observed power."""
    import numpy as np
    from evaluation_checks.simulation import Arms
    from evaluation_checks.trials import draw_pilot, observed_power, pooled

    from se_det.evaluation.sample_size import power_of

    rng = np.random.default_rng(0)
    arms = Arms(spread=0.05)
    pilots = [draw_pilot(arms, rng, images=200, seeds=5) for _ in range(10)]
    truth = arms.true_difference()
    print(
        '| images | seeds a side | planned | by single pilots | observed |\n|---|---|---|---|---|'
    )
    for number in images:
        for count in seeds:
            planned = power_of(rng, pooled(pilots), truth, count, number)
            single = [power_of(rng, pilot, truth, count, number) for pilot in pilots]
            seen = observed_power(arms, experiments=experiments, images=number, seeds=count)
            print(
                f'| {number} | {count} | {planned:.0%} | {min(single):.0%} to {max(single):.0%} | '
                f'{seen:.0%} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
