#!/usr/bin/env python3
"""Count the parameters and multiply-adds of configs: tools/complexity.py CONFIG ..."""

import argparse

from se_det.command_line import config_file, usage_errors_alone


def main() -> None:
    """Parse the arguments, count, print."""
    parser = argparse.ArgumentParser(description='Parameters and multiply-adds of configs')
    parser.add_argument('configs', type=config_file, nargs='+', metavar='CONFIG')
    configs = parser.parse_args().configs
    with usage_errors_alone():
        from se_det.analysis.complexity import complexity
        from se_det.engine.launch import load_config

        print('| config | parameters, M | of the backbone, M | its GFLOPs at 224 |')
        print('|---|---|---|---|')
        for config in configs:
            cost = complexity(load_config(config))
            print(
                f'| {config} | {cost.parameters / 1e6:.2f} | {cost.backbone_parameters / 1e6:.2f} '
                f'| {cost.backbone_multiply_adds / 1e9:.2f} |'
            )


if __name__ == '__main__':
    main()
