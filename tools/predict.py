#!/usr/bin/env python3
"""Detect objects in images and videos: tools/predict.py CONFIG CHECKPOINT INPUT..."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from _command_line import parse_config_arguments, usage_errors_alone


def main() -> None:
    """Parse the arguments, predict, print where the results are."""
    parser = argparse.ArgumentParser(
        description='Detect objects: COCO results and pictures. The exit status is 1 if a file '
        'could not be read'
    )
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help="an image, a folder, a pattern in quotes such as 'frames/*.png', or a video",
    )
    parser.add_argument('--out', help='folder; default <work dir>/predictions/<timestamp>')
    parser.add_argument('--score', type=float, default=0.3, help='the lowest score; default 0.3')
    parser.add_argument('--classes', nargs='+', help='only these')
    parser.add_argument('--device', help='default a GPU if there is one')
    parser.add_argument(
        '--batch', type=int, default=1, help='images of equal size to compute at once'
    )
    parser.add_argument(
        '--no-pictures', dest='pictures', action='store_false', help='write no pictures'
    )
    parser.add_argument(
        '--ann',
        metavar='FILE',
        help='annotations to take the ids of images and categories from, for '
        'compare_runs or pycocotools; evaluate with --score 0',
    )
    arguments = vars(parse_config_arguments(parser))
    with usage_errors_alone():
        from se_det.engine.launch import load_config
        from se_det.inference.prediction import predict

        cfg = load_config(
            arguments.pop('config'), None, arguments.pop('cfg_options'), arguments.pop('se')
        )
        timestamp = datetime.now().strftime('%Y%m%d_%H%M%S')
        arguments['out'] = arguments['out'] or Path(cfg.work_dir, 'predictions', timestamp)
        done = predict(cfg, **arguments)
        print(f'{done.detections} detections in {done.images} images')
        print(f'predictions.json and images.json are in {done.out}', end='')
        print(', pictures in its folder pictures' if arguments['pictures'] else '')
        if done.unreadable:
            print(
                f'{done.unreadable} files could not be read; they are named above', file=sys.stderr
            )
            sys.exit(1)


if __name__ == '__main__':
    main()
