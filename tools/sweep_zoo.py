#!/usr/bin/env python3
"""Try the SE twin of each of MMDetection's configs: tools/sweep_zoo.py --results FILE."""

import argparse
import sys
from pathlib import Path

from mmengine.logging import MMLogger

from se_det.analysis.zoo_sweep import as_markdown, sweep, zoo_configs
from se_det.command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, sweep, print the table."""
    parser = argparse.ArgumentParser(
        description="Make and build the SE twins of MMDetection's configs"
    )
    parser.add_argument(
        '--results',
        type=Path,
        default=Path('work_dirs/sweep_zoo.jsonl'),
        metavar='FILE',
        help='outcomes go here; what is in it is not tried again (default: %(default)s)',
    )
    arguments = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')  # a sweep of hundreds says less
    with usage_errors_alone():
        configs = zoo_configs()
        outcomes = []
        for outcome in sweep(configs, arguments.results):
            outcomes.append(outcome)
            print(
                f'\r{len(outcomes)}/{len(configs)} {outcome.config:<99.99}', end='', file=sys.stderr
            )
        print(file=sys.stderr)
        print(as_markdown(outcomes))


if __name__ == '__main__':
    main()
