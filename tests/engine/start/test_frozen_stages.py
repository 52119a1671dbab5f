"""A training does not freeze random weights."""

import pytest
from mmengine.config import Config

from se_det.engine.start.frozen_stages import check_frozen_stages
from se_det.errors import UsageError

WEIGHTS = dict(type='SEPretrained', checkpoint='mmpretrain/se_resnet50')


def _config(backbone, **model):
    return Config(dict(model=dict(type='FasterRCNN', backbone=backbone, **model)))


@pytest.mark.parametrize(
    'cfg',
    [
        _config(dict(frozen_stages=-1, init_cfg=None)),
        _config(dict(depth=50)),
        _config(dict(frozen_stages=1, init_cfg=WEIGHTS)),
        _config(dict(frozen_stages=1, init_cfg=[dict(type='Kaiming', layer='Conv2d'), WEIGHTS])),
        _config(dict(frozen_stages=1), init_cfg=WEIGHTS),
        Config(dict(load_from='a.pth', model=dict(backbone=dict(frozen_stages=1)))),
    ],
)
def test_what_is_allowed(cfg):
    check_frozen_stages(cfg)


@pytest.mark.parametrize('init_cfg', [None, dict(type='Kaiming', layer='Conv2d')])
def test_frozen_random_weights(init_cfg):
    cfg = _config(dict(frozen_stages=1, init_cfg=init_cfg))
    with pytest.raises(UsageError, match=r'options model\.backbone\.frozen_stages=-1 model\.back'):
        check_frozen_stages(cfg)


def test_a_backbone_within_a_detector():
    inner = dict(type='FasterRCNN', backbone=dict(frozen_stages=0))
    cfg = Config(dict(model=dict(type='SoftTeacher', detector=inner)))
    with pytest.raises(UsageError, match=r'model\.detector\.backbone freezes'):
        check_frozen_stages(cfg)
