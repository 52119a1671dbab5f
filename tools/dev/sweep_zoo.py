#!/usr/bin/env python3
"""Build the SE twins of all MMDetection configs: tools/dev/sweep_zoo.py [--train data/coco]."""

import argparse
from functools import partial
from pathlib import Path

from tools._command_line import usage_errors_alone


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
        help='folder of the results, one subfolder per version; configs with a result are skipped '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--train',
        type=Path,
        metavar='DIR',
        help='also train and test one config of each algorithm and backbone, on two images of '
        'COCO in DIR',
    )
    arguments = parser.parse_args()
    with usage_errors_alone():
        import mmdet
        from mmengine.logging import MMLogger
        from rich.console import Console
        from rich.progress import track
        from sweep.building import (
            Outcome,
            as_markdown,
            check_building,
            count_steps,
            sweep,
            zoo_configs,
        )
        from sweep.training import Training, check_training, one_of_each

        import se_det

        MMLogger.get_instance('mmengine', log_level='ERROR')
        versions = f'se_det-{se_det.__version__}-mmdet-{mmdet.__version__}'
        results = arguments.results / versions
        console = Console(stderr=True)
        configs = zoo_configs()
        found = sweep(configs, results / 'built.jsonl', check_building, Outcome)
        built = list(track(found, 'configs', len(configs), console=console))
        print(as_markdown(built))
        if arguments.train:
            configs = one_of_each(built)
            check = partial(check_training, coco=arguments.train)
            found = sweep(configs, results / 'trained.jsonl', check, Training)
            trained = list(track(found, 'configs', len(configs), console=console))
            print('\nOne config of each folder and backbone:\n', *count_steps(trained), sep='\n')


if __name__ == '__main__':
    main()
