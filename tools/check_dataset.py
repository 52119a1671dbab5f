#!/usr/bin/env python3
"""Check the data of a config: tools/check_dataset.py CONFIG."""

import argparse
import sys

from _command_line import parse_config_arguments, usage_errors_alone

SPLITS = ('train', 'val', 'test')


def main() -> None:
    """Parse the arguments, check, exit with status 0 only if all is well."""
    parser = argparse.ArgumentParser(description='Check annotations and images of a config')
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('--split', nargs='+', choices=SPLITS, default=SPLITS, help='default: all')
    parser.add_argument(
        '--fix',
        action='store_true',
        help='write a repaired copy of an annotation file with errors, beside it',
    )
    parser.add_argument(
        '--read-as',
        nargs='+',
        default=(),
        metavar='READING',
        help='with --fix: what to take where two readings are possible; --fix names them',
    )
    arguments = vars(parse_config_arguments(parser))
    splits, fix, choices = (arguments.pop(name) for name in ('split', 'fix', 'read_as'))
    with usage_errors_alone():
        from se_det.datasets.check.full import check_dataset
        from se_det.engine.launch import load_config

        cfg = load_config(**arguments)
        sys.exit(0 if check_dataset(cfg, splits, fix, choices=choices) else 1)


if __name__ == '__main__':
    main()
