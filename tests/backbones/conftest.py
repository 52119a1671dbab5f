"""What the tests of both backbones share."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from se_det.backbones.se_cfg import SEConfig
from se_det.layers import SqueezeExcitation


def make_block(kind, *args, se_cfg=(), **options):
    """A block of one stage with SE, made as a backbone makes it."""
    block = kind.__bases__[-1](*args, **options)
    config = SEConfig.read(dict(se_cfg), 1)
    block.__class__ = kind
    block.add_se(config, 0)
    block.fused = config.fused
    return block


@pytest.fixture
def make_twins() -> Callable:
    """Build a backbone of ours, all of whose gates are 1, and mmdet's, with equal random weights.

    The gates are exactly 1 because float32 rounds sigmoid(100) to it.
    """

    def make(ours: type, mmdets: type, **kwargs) -> tuple[nn.Module, nn.Module]:
        se_cfg = dict(kwargs.pop('se_cfg', {}), fused=False)
        # mmdet takes fallback_on_stride out of the dcn it is given
        our_twin = ours(se_cfg=se_cfg, **copy.deepcopy(kwargs))
        mmdets_twin = mmdets(**copy.deepcopy(kwargs))
        torch.manual_seed(0)
        for parameter in mmdets_twin.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)
        our_twin.load_state_dict(mmdets_twin.state_dict(), strict=False)
        for se in our_twin.modules():
            if isinstance(se, SqueezeExcitation):
                nn.init.zeros_(se.fc2.weight)
                nn.init.constant_(se.fc2.bias, 100)
        if not our_twin.layer1[0].conv2.weight.is_contiguous():
            mmdets_twin.to(memory_format=torch.channels_last)
        our_twin.train()
        mmdets_twin.train()
        return our_twin, mmdets_twin

    return make


@pytest.fixture
def images() -> torch.Tensor:
    """A random batch, ``(2, 3, 64, 64)``."""
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
