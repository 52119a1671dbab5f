import pytest
import torch
from mmdet.registry import MODELS

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Give every weight a random value, batch norm's and the biases included."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if 'running_var' in name else tensor.normal_(0, 0.1)
    return model


@pytest.fixture(scope='session')
def trained():
    """A narrow SE-ResNet-50 with random weights, also in batch norm."""
    torch.manual_seed(0)
    return randomise(MODELS.build(BACKBONE))


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint and return the init_cfg that loads it."""

    def save_checkpoint(checkpoint, name='weights.pth', **options):
        torch.save(checkpoint, tmp_path / name)
        return dict(type='SEPretrained', checkpoint=str(tmp_path / name), **options)

    return save_checkpoint
