"""A checkpoint of another detector is refused; what was loaded is one line in the log."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner import Runner

from se_det.engine.start.loaded_keys import CheckpointFitHook
from se_det.errors import UsageError


def _loaded(tmp_path, model, weights, whole):
    """Load weights as a run does."""
    torch.save(dict(state_dict=weights), tmp_path / 'weights.pth')
    runner = Runner(model, work_dir=str(tmp_path), experiment_name=tmp_path.name)
    runner.register_hook(CheckpointFitHook(whole))
    runner.load_checkpoint(str(tmp_path / 'weights.pth'))


@pytest.fixture
def model(faster_rcnn):
    return MODELS.build(faster_rcnn('SEResNet'))


@pytest.fixture
def retinanet(faster_rcnn):
    """A plain detector with another head and the same backbone and neck."""
    cfg = faster_rcnn('SEResNet')
    head = dict(type='RetinaHead', num_classes=3, in_channels=16, feat_channels=16)
    one_stage = {key: cfg[key] for key in ('backbone', 'neck', 'data_preprocessor') if key in cfg}
    return MODELS.build(dict(type='RetinaNet', bbox_head=head, **one_stage))


@pytest.mark.parametrize('whole', [True, False])
def test_all_keys_and_one_more(tmp_path, model, capfd, whole):
    for extra, end in (({}, ''), ({'roi_head.mask.bias': torch.zeros(1)}, 'roi_head.mask.bias')):
        _loaded(tmp_path, model, {**model.state_dict(), **extra}, whole)
        (line,) = [text for text in capfd.readouterr().out.splitlines() if 'Keys loaded' in text]
        assert 'backbone' in line and 'newly' not in line
        assert ('not used: ' in line) == bool(extra) and line.endswith(end)


def test_another_detector_is_not_tested(tmp_path, model, retinanet):
    with pytest.raises(UsageError, match=r'not one of this FasterRCNN.*roi_head 0/\d+.*cls_convs'):
        _loaded(tmp_path, model, retinanet.state_dict(), whole=True)


def test_another_number_of_classes(tmp_path, model, capfd):
    weights = model.state_dict()
    changed = 'roi_head.bbox_head.fc_cls.weight'
    weights[changed] = weights[changed][:2]
    _loaded(tmp_path, model, weights, whole=False)
    (line,) = [text for text in capfd.readouterr().out.splitlines() if 'Keys loaded' in text]
    assert f'newly initialised: {changed}' in line
    with pytest.raises(UsageError, match=changed):
        _loaded(tmp_path, model, weights, whole=True)


@pytest.mark.parametrize('only', ['backbone', 'roi_head'])
def test_a_part_of_a_detector(tmp_path, model, only):
    weights = {key: value for key, value in model.state_dict().items() if key.startswith(only)}
    with pytest.raises(UsageError, match='not one of this FasterRCNN'):
        _loaded(tmp_path, model, weights, whole=False)
