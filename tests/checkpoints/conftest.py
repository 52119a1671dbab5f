import pytest
import torch
from mmdet.registry import MODELS

from se_det.checkpoints import SEPretrained

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)


@pytest.fixture(scope='session')
def trained():
    """A narrow SE-ResNet-50 with random weights, also in batch norm and biases."""
    torch.manual_seed(0)
    model = MODELS.build(BACKBONE)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if 'running_var' in name else tensor.normal_(0, 0.1)
    return model


@pytest.fixture(scope='session')
def plain(trained):
    """Its weights without SE."""
    return {key: tensor for key, tensor in trained.state_dict().items() if '.se.' not in key}


@pytest.fixture(scope='session')
def legacy(trained):
    """Its weights with the keys of the legacy layout."""
    return {key.replace('.se.', '.se_module.'): w for key, w in trained.state_dict().items()}


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint and return the init_cfg that loads it."""

    def save_checkpoint(checkpoint, name='weights.pth', **options):
        torch.save(checkpoint, tmp_path / name)
        return dict(type='SEPretrained', checkpoint=str(tmp_path / name), **options)

    return save_checkpoint


@pytest.fixture
def load(save):
    """Load a checkpoint into a backbone with these arguments beside those of `BACKBONE`."""

    def load_into(checkpoint, name='weights.pth', graft=False, **arguments):
        backbone = MODELS.build({**BACKBONE, **arguments})
        SEPretrained(save(checkpoint, name)['checkpoint'], graft)(backbone)
        return backbone

    return load_into


def assert_same(model, expected):
    weights = model.state_dict()
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
