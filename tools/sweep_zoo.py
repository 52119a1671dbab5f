#!/usr/bin/env python3
"""Try the SE twin of each of MMDetection's configs: tools/sweep_zoo.py [--train data/coco]."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import mmdet
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import track

import se_det
from se_det.analysis.zoo_sweep import (
    Outcome,
    as_markdown,
    check_building,
    count_steps,
    sweep,
    zoo_configs,
)
from se_det.analysis.zoo_training import Training, by_algorithm, check_training, one_of_each
from se_det.command_line import usage_errors_alone

T = TypeVar('T')


def main() -> None:
    """Parse the arguments, sweep, print the tables."""
    parser = argparse.ArgumentParser(
        description="Make and build the SE twins of MMDetection's configs"
    )
    parser.add_argument(
        '--results',
        type=Path,
        default=Path('work_dirs/sweep_zoo'),
        metavar='DIR',
        help='outcomes go here, below the versions; what has one is not tried again '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--train',
        type=Path,
        metavar='DIR',
        help='train and test one config of each algorithm too, on two of the images of COCO here',
    )
    arguments = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')  # hundreds of configs say less
    versions = f'se_det-{se_det.__version__}-mmdet-{mmdet.__version__}'
    results = arguments.results / versions
    with usage_errors_alone():
        configs = zoo_configs()
        built = shown(configs, results / 'built.jsonl', check_building, Outcome)
        print(as_markdown(built))
        if arguments.train:
            configs = one_of_each(built)
            check = partial(check_training, coco=arguments.train)
            trained = shown(configs, results / 'trained.jsonl', check, Training)
            print('\nOne config of each folder:\n', *count_steps(trained), sep='\n')
            print('', *by_algorithm(built, trained), sep='\n')


def shown(configs: list[str], results: Path, check: Callable[[str], T], kind: type[T]) -> list[T]:
    """Sweep, and show on standard error how far that is."""
    console = Console(stderr=True)
    found = sweep(configs, results, check, kind)
    outcomes = []
    for outcome in track(
        found, 'configs', len(configs), console=console, disable=not console.is_terminal
    ):
        outcomes.append(outcome)
        if not console.is_terminal:
            print(f'{len(outcomes)}/{len(configs)} {outcome.config}', file=sys.stderr)
    return outcomes


if __name__ == '__main__':
    main()
