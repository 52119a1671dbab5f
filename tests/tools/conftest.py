import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

# A small version of a config's detector, which a CPU trains in seconds on small images.
QUICK = [
    'model.backbone.init_cfg=None',
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[32,64,128,256]',
    'model.neck.out_channels=16',
    'model.rpn_head.in_channels=16',
    'model.rpn_head.feat_channels=16',
    'model.roi_head.bbox_roi_extractor.out_channels=16',
    'model.roi_head.bbox_head.in_channels=16',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'model.train_cfg.rpn_proposal.max_per_img=50',
    'model.test_cfg.rpn.max_per_img=50',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
]


@pytest.fixture
def quick() -> list[str]:
    """Options that make a config train in seconds on a CPU."""
    return list(QUICK)


@pytest.fixture
def run(tmp_path):
    """Run a tool in ``tmp_path``, with its data there, and return the finished process."""

    def run_tool(tool: str, *arguments: str, options: list[str] = (), **environment: str):
        for name in ('coco', 'shapes'):  # where they exist, the tools do not look in the checkout
            (tmp_path / 'data' / name).mkdir(parents=True, exist_ok=True)
        command = [str(CHECKOUT / 'tools' / tool), *arguments]
        if tool.endswith('.py'):
            command.insert(0, sys.executable)
        if options:
            command += ['--cfg-options', *options]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1', **environment},
            capture_output=True,
            text=True,
        )

    return run_tool
