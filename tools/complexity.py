#!/usr/bin/env python3
"""Count the parameters and multiply-adds of configs: tools/complexity.py CONFIG ..."""

import argparse

from _command_line import usage_errors_alone


def main() -> None:
    """Parse the arguments, count, print.

    Models are on the meta device: no memory is used and nothing is computed. What the paper's
    table 2 calls FLOPs are multiply-adds of the backbone for one image of 224 x 224 pixels.
    """
    parser = argparse.ArgumentParser(description='Parameters and multiply-adds of configs')
    parser.add_argument('configs', nargs='+', metavar='CONFIG')
    configs = parser.parse_args().configs
    with usage_errors_alone():
        import torch
        from mmdet.registry import MODELS
        from torch.utils.flop_counter import FlopCounterMode

        from se_det.config_files import model_of
        from se_det.engine.launch import load_config

        print('| config | parameters, M | of the backbone, M | its GFLOPs at 224 |')
        print('|---|---|---|---|')
        for config in configs:
            with torch.device('meta'):
                detector = MODELS.build(model_of(load_config(config), config)).eval()
                image = torch.empty(1, 3, 224, 224)
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                detector.backbone(image)
            whole, backbone = (
                sum(parameter.numel() for parameter in model.parameters())
                for model in (detector, detector.backbone)
            )
            multiply_adds = counter.get_total_flops() / 2
            print(
                f'| {config} | {whole / 1e6:.2f} | {backbone / 1e6:.2f} '
                f'| {multiply_adds / 1e9:.2f} |'
            )


if __name__ == '__main__':
    main()
