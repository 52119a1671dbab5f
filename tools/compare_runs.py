#!/usr/bin/env python3
"""Compare detectors: tools/compare_runs.py BASELINE ... --candidate CANDIDATE ... --ann FILE."""

import argparse

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, compare, print."""
    parser = argparse.ArgumentParser(
        description='COCO metrics of two sides, with intervals of the differences'
    )
    parser.add_argument(
        'baseline',
        nargs='+',
        metavar='BASELINE',
        help="a result file for each seed: the json of CocoMetric's outfile_prefix, or the pkl of "
        'tools/test.py --out',
    )
    parser.add_argument('--candidate', nargs='+', required=True, help='as many of the other side')
    parser.add_argument('--ann', required=True, metavar='FILE', help='the annotations of both')
    parser.add_argument('--metric', choices=['bbox', 'segm'], default='bbox')
    parser.add_argument('--classes', nargs='+', help="the configs' classes, if some are left out")
    parser.add_argument(
        '--group-by',
        metavar='KEY',
        help='draw groups of images that belong together, such as frames of a video: a key of '
        'the images in --ann, or a regular expression on file_name',
    )
    parser.add_argument('--paired', action='store_true', help='pair the files in their order')
    parser.add_argument(
        '--looks',
        type=int,
        nargs='+',
        metavar='SEEDS',
        help='looks that were planned, in seeds a side, such as 6 9 12; this is one of them',
    )
    parser.add_argument('--resamples', type=int, default=1000, help='draws of images')
    parser.add_argument('--seed', type=int, default=0, help='of the draws')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--json', metavar='FILE', help='write all values there too')
    arguments = vars(parser.parse_args())
    out = arguments.pop('json')
    with usage_errors_alone():
        from se_det.evaluation import compare_runs
        from se_det.files import check_output, write_json

        ann_file = arguments.pop('ann')
        if out:
            check_output(out, [ann_file, *arguments['baseline'], *arguments['candidate']])
        comparison = compare_runs(ann_file=ann_file, **arguments)
        print(comparison.to_table())
        if out:
            write_json(out, comparison.to_dict())


if __name__ == '__main__':
    main()
