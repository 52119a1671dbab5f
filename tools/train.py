#!/usr/bin/env python3
"""Train a detector: tools/train.py CONFIG."""

import argparse

from _command_line import parse_run_arguments, usage_errors_alone


def main() -> None:
    """Parse the arguments and train."""
    parser = argparse.ArgumentParser(description='Train a detector')
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('--amp', action='store_true', help='train in mixed precision (GPU)')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a value, from the latest in the work dir',
    )
    arguments = parse_run_arguments(parser)
    with usage_errors_alone():
        from se_det.engine.launch import train

        train(**arguments)


if __name__ == '__main__':
    main()
