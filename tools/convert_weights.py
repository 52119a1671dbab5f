#!/usr/bin/env python3
"""Convert, graft or inspect a checkpoint: tools/convert_weights.py SRC DST."""

import argparse

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, convert or inspect, print."""
    parser = argparse.ArgumentParser(description='Convert, graft or inspect a checkpoint')
    parser.add_argument(
        'src', help="a file, a URL, or a public name such as 'mmpretrain/se_resnet50'"
    )
    parser.add_argument('dst', nargs='?', help='the .pth file to write')
    parser.add_argument(
        '--layout',
        choices=('timm', 'eca', 'ese', 'gc', 'cbam', 'legacy', 'mmpretrain', 'bias-free', 'plain'),
        help='of SRC; default: inferred',
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        '--graft',
        action='store_true',
        help='SRC is plain: add SE, with the same outputs',
    )
    action.add_argument('--inspect', action='store_true', help='only describe SRC')
    arguments = parser.parse_args()
    if arguments.inspect == (arguments.dst is not None):
        parser.error('name DST, the file to write, or add --inspect to write none')
    with usage_errors_alone():
        from se_det.checkpoints import convert_weights, inspect_weights

        if arguments.inspect:
            print(inspect_weights(arguments.src, arguments.layout))
        else:
            print(convert_weights(arguments.src, arguments.dst, arguments.layout, arguments.graft))


if __name__ == '__main__':
    main()
