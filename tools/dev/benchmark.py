#!/usr/bin/env python3
"""Time SE backbones beside their peers: tools/dev/benchmark.py --mode train --size 512x832."""

import argparse
from itertools import product

from peers.contenders import BACKBONES
from peers.timing import PRECISIONS, Setting, as_table, benchmark, beside_the_fastest

from tools._command_line import usage_errors_alone
from tools.dev.image_size import height_and_width


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description='Time and memory of backbones, side by side')
    parser.add_argument('--backbone', choices=tuple(BACKBONES), default='r50')
    parser.add_argument('--mode', choices=('train', 'inference'), default='train')
    parser.add_argument('--detector', action='store_true', help='within a whole Faster R-CNN')
    parser.add_argument('--batch', type=int, nargs='+', default=[1])
    parser.add_argument(
        '--size', type=height_and_width, nargs='+', default=[(512, 832)], metavar='HxW'
    )
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--precision', choices=tuple(PRECISIONS), default='fp32')
    parser.add_argument(
        '--from-scratch', action='store_true', help='train batch norms, freeze nothing'
    )
    parser.add_argument('--only', nargs='+', default=(), help='parts of the names of contenders')
    options = vars(parser.parse_args())
    batches, sizes = options.pop('batch'), options.pop('size')
    rounds, only = options.pop('rounds'), options.pop('only')
    with usage_errors_alone():
        for batch, size in product(batches, sizes):
            setting = Setting(**options, batch=batch, size=size)
            costs = benchmark(setting, rounds, only)
            print(f'{setting}\n\n{as_table(costs)}\n\n{beside_the_fastest(costs)}\n', flush=True)


if __name__ == '__main__':
    main()
