#!/usr/bin/env python3
"""Check comparison and plans: tools/dev/benchmark_evaluation.py coverage|power."""

import argparse

import numpy as np
from evaluation_checks.simulation import Arms
from evaluation_checks.trials import EACH, PLANNED, coverage, draw_experiment, observed_power

from se_det.evaluation.sample_size import Pilot, pilot_of, power_of

SPREADS = ((0.65, 0.65), (1.4, 1.4), (0.5, 1.5))  # between seeds, of baseline and candidate, in AP


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(
        description='How often intervals of compare_runs hold a known true difference; how often '
        'planned experiments show it'
    )
    commands = parser.add_subparsers(required=True, dest='command')
    coverage_parser = commands.add_parser('coverage', help='of intervals of nominally 95 %%')
    coverage_parser.add_argument('--trials', type=int, default=500)
    coverage_parser.add_argument('--images', type=int, nargs='+', default=[50, 200])
    coverage_parser.add_argument('--seeds', type=int, nargs='+', default=[1, 3, 5, 7])
    coverage_parser.add_argument('--gain', type=float, default=0.0, help='true, in AP, about')
    power_parser = commands.add_parser('power', help='planned from a pilot, and observed')
    power_parser.add_argument('--experiments', type=int, default=2000)
    power_parser.add_argument('--spreads', type=float, nargs='+', default=[0.3, 0.65, 1.0, 1.5])
    power_parser.add_argument('--seeds', type=int, nargs='+', default=[2, 3, 5, 7, 12, 20])
    arguments = vars(parser.parse_args())
    dict(coverage=cover, power=power)[arguments.pop('command')](**arguments)


def cover(trials: int, images: list[int], seeds: list[int], gain: float) -> None:
    """Print how often intervals hold the true difference, and so how often they falsely do not."""
    points = Arms(gain=0.1).true_difference / 0.1 * 100  # of AP, for a quality of 1
    columns = [*(f'{count} a side' for count in seeds), EACH, PLANNED]
    print(
        f'| images | spread | drawn | {" | ".join(columns)} |\n|---|---|---|{"---|" * len(columns)}'
    )
    for number in images:
        for spreads, group in [*((spreads, 1) for spreads in SPREADS), (SPREADS[0], 10)]:
            of_seeds = spreads[0] / points, spreads[1] / points
            arms = Arms(gain=gain / points, spreads=of_seeds, group=group)
            found = coverage(arms, trials=trials, images=number, seeds=seeds)
            for way, shares in found.items():
                kind = f'{number} in groups of {group}' if group > 1 else number
                cells = ' | '.join(f'{100 * share:.1f}' for share in shares.values())
                print(f'| {kind} | {spreads[0]}, {spreads[1]} | {way} | {cells} |', flush=True)


def power(experiments: int, spreads: list[float], seeds: list[int]) -> None:
    """Print planned and observed power to show 1 AP."""
    rng = np.random.default_rng(0)
    print(
        '| spread | seeds a side | planned | by single pilots of 7 seeds | observed |\n'
        '|---|---|---|---|---|'
    )
    for spread in spreads:
        pilot = Pilot(360, 7, 0.003**2, 0.004**2, (spread / 100) ** 2, ())
        pilots = [pilot_of(*draw_experiment(rng, pilot, 0.01, 7), 360) for _ in range(10)]
        for count in seeds:
            planned = power_of(pilot, 0.01, count, 360)
            single = [power_of(one, 0.01, count, 360) for one in pilots]
            seen = observed_power(pilot, 0.01, seeds=count, experiments=experiments)
            print(
                f'| {spread} | {count} | {planned:.1%} | {min(single):.0%} to {max(single):.0%} | '
                f'{seen:.1%} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
