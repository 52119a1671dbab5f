"""What an experiment adds to mmengine's runs: the result, a fresh SE, the start of residuals."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.models.backbones.resnet import ResNet
from mmengine.logging import MessageHub
from torch import nn

from se_det.backbones import SEResNet
from se_det.engine import FreshSEHook, RunResultHook
from se_det.engine.experiments.result_hook import code
from se_det.errors import UsageError


@pytest.fixture
def runner(tmp_path):
    """As far as RunResultHook knows one: after ten iterations, its validation gives AP 0.5."""

    def validate():
        hook.after_val_epoch(runner, {'coco/bbox_mAP': 0.5})

    hook = RunResultHook()
    runner = SimpleNamespace(
        work_dir=str(tmp_path),
        iter=10,
        val_evaluator=SimpleNamespace(metrics=[]),
        val_loop=SimpleNamespace(run=validate),
        hook=hook,
        message_hub=MessageHub('test'),
    )
    hook.before_train(runner)
    return runner


def test_the_result_is_that_of_the_last_validation(runner, tmp_path):
    runner.hook.after_val_epoch(runner, {'coco/bbox_mAP': 0.25})
    assert not (tmp_path / 'result.json').exists()
    runner.hook.after_train(runner)
    result = json.loads((tmp_path / 'result.json').read_text())
    assert (result['metrics'], result['iterations']) == ({'coco/bbox_mAP': 0.25}, 10)
    assert result['code'].startswith(f'torch {torch.__version__}, mmdet 3.')
    assert [path.name for path in tmp_path.iterdir()] == ['result.json']


def test_a_run_that_was_resumed_after_its_last_epoch_is_validated(runner, tmp_path):
    runner.hook.after_train(runner)
    assert json.loads((tmp_path / 'result.json').read_text())['metrics'] == {'coco/bbox_mAP': 0.5}


def _detector(backbone):
    model = nn.Module()
    model.backbone = backbone
    return model


def test_a_fresh_se_beside_plain_weights():
    torch.manual_seed(0)
    plain = _detector(ResNet(18, base_channels=16)).state_dict()
    model = _detector(SEResNet(18, base_channels=16))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(UsageError, match=r'missing: backbone\.layer1\.0\.se\.fc1'):
        model.load_state_dict(plain, strict=False)
    checkpoint = dict(state_dict=dict(plain))
    FreshSEHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    model.load_state_dict(checkpoint['state_dict'])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key] if '.se.' in key else plain[key])
    trained = {key: value + 1 for key, value in model.state_dict().items()}  # of a run to resume
    checkpoint = dict(state_dict=dict(trained))
    FreshSEHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)
    assert all(checkpoint['state_dict'][key] is value for key, value in trained.items())
    del checkpoint['state_dict']['backbone.conv1.weight']
    with pytest.raises(UsageError, match=r'missing: backbone\.conv1\.weight'):
        model.load_state_dict(checkpoint['state_dict'], strict=False)


@pytest.mark.parametrize(
    ('kind', 'depth', 'changed'),
    [
        (SEResNet, 18, {'bn2.weight': 2.0, 'se.fc2.bias': 3.0}),
        (SEResNet, 50, {'bn3.weight': 2.0, 'se.fc2.bias': 3.0}),
        (ResNet, 18, {'bn2.weight': 2.0}),
    ],
)
def test_how_residuals_start(kind, depth, changed):
    """The defaults are mmdet's own start; other values are where they belong, and only there."""
    usual = [
        dict(type='Kaiming', layer='Conv2d'),
        dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
    ]

    def started(init_cfg):
        torch.manual_seed(0)
        backbone = kind(depth, base_channels=16, init_cfg=init_cfg)
        torch.manual_seed(1)
        backbone.init_weights()
        return backbone.state_dict()

    mmdets = started(None)
    ours = started([*usual, dict(type='ResidualStart')])
    assert all(torch.equal(value, mmdets[key]) for key, value in ours.items())
    ours = started([*usual, dict(type='ResidualStart', last_norm=2.0, gate_bias=3.0)])
    for key, value in ours.items():
        expected = mmdets[key]
        for name, number in changed.items():
            if key.startswith('layer') and key.endswith(name):
                expected = torch.full_like(value, number)
        assert torch.equal(value, expected), key


def test_other_code_has_another_name(tmp_path, monkeypatch):
    monkeypatch.setattr('se_det.engine.experiments.result_hook.PACKAGE', tmp_path)
    (tmp_path / 'a.py').write_text('1')
    first = code()
    assert code() == first
    (tmp_path / 'a.py').write_text('2')
    assert code() != first
