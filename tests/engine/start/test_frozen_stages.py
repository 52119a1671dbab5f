"""A training does not freeze random weights."""

import pytest
from mmengine.config import Config
from mmengine.model import PretrainedInit

from se_det.engine.start.frozen_stages import check_frozen_stages, starting_weights
from se_det.errors import UsageError

A, B = dict(type='SEPretrained', checkpoint='a'), dict(type=PretrainedInit, checkpoint='b')
KAIMING = dict(type='Kaiming', layer='Conv2d')


@pytest.mark.parametrize(
    ('model', 'found'),
    [
        (dict(backbone=dict(frozen_stages=-1, init_cfg=None)), set()),
        (dict(backbone=dict(depth=50, pretrained=None)), set()),
        (dict(backbone=dict(frozen_stages=1, init_cfg=A)), {'a'}),
        (dict(backbone=dict(frozen_stages=1, init_cfg=[KAIMING, B])), {'b'}),
        (dict(backbone=dict(frozen_stages=1), init_cfg=A), {'a'}),
        (dict(backbone=dict(init_cfg=A), teacher=dict(backbone=dict(pretrained='c'))), {'a', 'c'}),
    ],
)
def test_what_is_allowed_and_the_weights_that_a_config_names(model, found):
    check_frozen_stages(Config(dict(model=model)))
    assert starting_weights(model) == found


@pytest.mark.parametrize('place', ['backbone', 'detector.backbone'])
@pytest.mark.parametrize('init_cfg', [None, KAIMING])
def test_frozen_random_weights(place, init_cfg):
    cfg = Config(dict(model={}))
    cfg.merge_from_dict({f'model.{place}': dict(frozen_stages=0, init_cfg=init_cfg)})
    option = rf'model\.{place}'
    message = rf'{option} freezes .*--cfg-options {option}.frozen_stages=-1 {option}.norm_eval'
    with pytest.raises(UsageError, match=message):
        check_frozen_stages(cfg)
    cfg.load_from = 'a.pth'
    check_frozen_stages(cfg)
