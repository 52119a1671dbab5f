#!/usr/bin/env python3
"""Compare images alone and in padded batches: tools/measure_padding.py CONFIG [CHECKPOINT]."""

import argparse

from se_det.command_line import (
    add_config_arguments,
    config_file,
    height_and_width,
    parse_config_arguments,
    usage_errors_alone,
)


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(
        description="How far the other images of a batch move an image's feature maps and scores, "
        'with and without mask_padding'
    )
    parser.add_argument('config', type=config_file, help='config file, or mmdet::folder/name.py')
    parser.add_argument(
        'checkpoint', nargs='?', help='default: random weights, beside the plain backbone'
    )
    parser.add_argument('--batch', type=int, nargs='+', default=[2, 4])
    parser.add_argument(
        '--scale',
        type=height_and_width,
        nargs='+',
        default=[(400, 667)],
        metavar='SHORTxLONG',
        help='edges that images are resized to; images take several in turn',
    )
    parser.add_argument('--num-images', type=int, help='validation images at most')
    parser.add_argument(
        '--calibration',
        type=int,
        default=8,
        help='images for the batch norm statistics of random weights; 0: weights as built',
    )
    add_config_arguments(parser)
    args = parse_config_arguments(parser)
    with usage_errors_alone():
        from se_det.analysis.padding import as_table, measure_padding
        from se_det.engine.launch import load_config

        cfg = load_config(args.config, cfg_options=args.cfg_options, se=args.se)
        found = measure_padding(
            cfg, args.checkpoint, args.batch, args.scale, args.num_images, args.calibration
        )
        print(as_table(found))


if __name__ == '__main__':
    main()
