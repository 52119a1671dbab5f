#!/usr/bin/env python3
"""Time SE backbones beside their peers: tools/dev/benchmark.py --mode train --size 512x832."""

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path

from peers.contenders import BACKBONES
from peers.plot import check_picture, draw
from peers.timing import PRECISIONS, Setting, as_table, benchmark, beside_the_fastest

from se_det.files import check_output, write_json
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
    parser.add_argument('--compiled', action='store_true', help='backbones under torch.compile too')
    parser.add_argument('--only', nargs='+', default=(), help='parts of the names of contenders')
    parser.add_argument('--json', metavar='FILE', help='write the figures here too')
    parser.add_argument('--plot', metavar='FILE', help='draw time by size and batch here')
    args = parser.parse_args()
    costs = []
    with usage_errors_alone():
        if args.plot:
            check_picture(args.plot)
        for file in filter(None, (args.json, args.plot)):
            check_output(file)
        for batch, size in product(args.batch, args.size):
            setting = Setting(
                backbone=args.backbone,
                mode=args.mode,
                detector=args.detector,
                batch=batch,
                size=size,
                precision=args.precision,
                from_scratch=args.from_scratch,
                device=args.device,
            )
            found = benchmark(setting, args.rounds, args.compiled, args.only)
            print(f'{setting}\n\n{as_table(found)}\n\n{beside_the_fastest(found)}\n', flush=True)
            costs += found
            if args.json:
                write_json(args.json, [asdict(cost) for cost in costs])
            if args.plot:
                Path(args.plot).parent.mkdir(parents=True, exist_ok=True)
                draw(costs).savefig(args.plot, dpi=120)


if __name__ == '__main__':
    main()
