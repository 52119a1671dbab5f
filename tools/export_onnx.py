#!/usr/bin/env python3
"""Export a detector to ONNX: tools/export_onnx.py CONFIG CHECKPOINT OUT.onnx."""

import argparse

from _command_line import parse_config_arguments, usage_errors_alone


def main() -> None:
    """Parse the arguments, export, print."""
    parser = argparse.ArgumentParser(description='Export a detector to ONNX, NMS included')
    parser.add_argument('config', help='config file, or mmdet::folder/name.py')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('out', help='the .onnx file to write')
    arguments = parse_config_arguments(parser)
    with usage_errors_alone():
        from se_det.engine.launch import load_config
        from se_det.inference.export import export_onnx

        cfg = load_config(arguments.config, cfg_options=arguments.cfg_options, se=arguments.se)
        print(export_onnx(cfg, arguments.checkpoint, arguments.out))


if __name__ == '__main__':
    main()
