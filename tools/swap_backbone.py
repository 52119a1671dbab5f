#!/usr/bin/env python3
"""Write the SE twin of an MMDetection config: tools/swap_backbone.py CONFIG --out FILE."""

import argparse

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, write, print what was written."""
    parser = argparse.ArgumentParser(description='Write the SE twin of a config, as its child')
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('--out', required=True, metavar='FILE', help='the .py file to write')
    parser.add_argument(
        '--checkpoint',
        help='weights to use instead of those that CONFIG names: a public name such as '
        "'timm/seresnet50.ra2_in1k', a URL or a file",
    )
    parser.add_argument(
        '--graft',
        action='store_true',
        help='graft SE to plain weights: to those of --checkpoint, or that CONFIG names',
    )
    parser.add_argument('--reduction', type=int, help="the paper's r; default 16")
    parser.add_argument('--teachers', action='store_true', help='swap frozen teachers too')
    arguments = vars(parser.parse_args())
    if arguments['reduction'] is None:
        del arguments['reduction']
    with usage_errors_alone():
        from se_det.swap import write_twin

        print(write_twin(**arguments), end='')


if __name__ == '__main__':
    main()
