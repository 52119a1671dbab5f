#!/usr/bin/env python3
"""Seeds and images to take: tools/sample_size.py BASELINE ... --ann FILE --difference AP."""

import argparse

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, plan, print."""
    parser = argparse.ArgumentParser(
        description='How many seeds and images it takes to show a difference, from a pilot'
    )
    parser.add_argument(
        'baseline',
        nargs='+',
        metavar='BASELINE',
        help='result files of the pilot, a seed each, as for tools/compare_runs.py; one will do',
    )
    parser.add_argument('--candidate', nargs='+', help='those of the other side, if there are any')
    parser.add_argument('--ann', required=True, metavar='FILE', help='the annotations of all')
    parser.add_argument(
        '--difference', type=float, required=True, help='to show, in AP from 0 to 100, as 0.5'
    )
    parser.add_argument(
        '--power', type=float, default=0.8, help='share of experiments that shall show it'
    )
    parser.add_argument('--images', type=int, nargs='+', help='numbers of validation images')
    parser.add_argument(
        '--seed-spread', type=float, help='standard deviation of AP between seeds, if known'
    )
    parser.add_argument('--metric', choices=['bbox', 'segm'], default='bbox')
    parser.add_argument('--classes', nargs='+', help="the configs' classes, if some are left out")
    parser.add_argument('--group-by', metavar='KEY', help='as for tools/compare_runs.py')
    parser.add_argument('--json', metavar='FILE', help='write all values there too')
    arguments = vars(parser.parse_args())
    out = arguments.pop('json')
    for name in ('difference', 'seed_spread'):
        if arguments[name] is not None:
            arguments[name] /= 100
    with usage_errors_alone():
        from se_det.evaluation import find_sample_size
        from se_det.files import check_output, write_json

        ann_file = arguments.pop('ann')
        if out:
            inputs = [ann_file, *arguments['baseline'], *(arguments['candidate'] or [])]
            check_output(out, inputs)
        found = find_sample_size(ann_file=ann_file, **arguments)
        print(found.to_table())
        if out:
            write_json(out, found.to_dict())


if __name__ == '__main__':
    main()
