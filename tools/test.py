#!/usr/bin/env python3
"""Evaluate a checkpoint with COCO's metrics: tools/test.py CONFIG CHECKPOINT."""

import argparse

from _command_line import parse_run_arguments, usage_errors_alone


def main() -> None:
    """Parse the arguments and test."""
    parser = argparse.ArgumentParser(description='Evaluate a detector')
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', help='a .pkl file for the predictions')
    parser.add_argument('--show', action='store_true', help='show the detections in a window')
    parser.add_argument(
        '--show-dir', help='save images with the detections here, under <work dir>/<timestamp>'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds to show an image')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation: flips')
    arguments = parse_run_arguments(parser)
    with usage_errors_alone():
        from se_det.engine.launch import test

        test(**arguments)


if __name__ == '__main__':
    main()
