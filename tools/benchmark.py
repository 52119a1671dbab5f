#!/usr/bin/env python3
"""Time SE backbones beside their peers: tools/benchmark.py --mode train --size 512 832."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from se_det.analysis.benchmark import as_table, benchmark
from se_det.command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description='Time and memory of backbones, side by side')
    parser.add_argument('--depth', type=int, choices=(50, 101, 152), default=50)
    parser.add_argument('--mode', choices=('train', 'inference'), default='train')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--size', type=int, nargs=2, default=(512, 832), metavar=('H', 'W'))
    parser.add_argument('--rounds', type=int, default=11)
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu')
    parser.add_argument('--only', nargs='+', default=(), help='parts of the names of contenders')
    parser.add_argument('--json', metavar='FILE', help='write the figures here too')
    arguments = vars(parser.parse_args())
    json_file = arguments.pop('json')
    with usage_errors_alone():
        costs = benchmark(**arguments)
        print(as_table(costs))
        if json_file:
            Path(json_file).write_text(json.dumps([asdict(cost) for cost in costs], indent=1))


if __name__ == '__main__':
    main()
