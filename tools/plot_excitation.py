#!/usr/bin/env python3
"""Draw the gates of an SE detector by class: tools/plot_excitation.py CONFIG CHECKPOINT."""

import argparse
from pathlib import Path

from _command_line import parse_config_arguments, usage_errors_alone


def main() -> None:
    """Parse the arguments, read the gates, print what they amount to."""
    parser = argparse.ArgumentParser(
        description='The gates of an SE detector by class (arXiv 1709.01507, figures 6 and 7)'
    )
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--out', help='folder; default <work dir>/excitation')
    parser.add_argument('--num-images', type=int, default=500, help='validation images at most')
    parser.add_argument('--classes', nargs='+', default=(), help='default the five most common')
    parser.add_argument(
        '--evaluate', action='store_true', help='mAP with the gates of each stage held constant'
    )
    args = parse_config_arguments(parser)
    with usage_errors_alone():
        from se_det.engine.launch import load_config
        from se_det.excitation import as_text, plot_excitation

        cfg = load_config(args.config, cfg_options=args.cfg_options, se=args.se)
        out = args.out or Path(cfg.work_dir, 'excitation')
        blocks, stages = plot_excitation(
            cfg,
            args.checkpoint,
            out,
            num_images=args.num_images,
            classes=args.classes,
            evaluate=args.evaluate,
        )
        print(f'{as_text(blocks, stages)}\n\nPictures and CSV are in {out}')


if __name__ == '__main__':
    main()
