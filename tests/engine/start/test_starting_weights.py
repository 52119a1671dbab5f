import pytest
from mmengine.model import PretrainedInit

from se_det.engine.start.starting_weights import starting_weights

A, B = dict(type='Pretrained', checkpoint='a'), dict(type=PretrainedInit, checkpoint='b')


@pytest.mark.parametrize(
    ('part', 'found'),
    [
        (dict(init_cfg=A), {'a'}),
        (dict(init_cfg=[dict(type='Kaiming'), B]), {'b'}),
        (dict(backbone=dict(init_cfg=A), teacher=dict(backbone=dict(pretrained='c'))), {'a', 'c'}),
        (dict(init_cfg=None, pretrained=None, bbox_head=dict(type='BBoxHead')), set()),
    ],
)
def test_the_weights_that_a_config_names(part, found):
    assert starting_weights(part) == found
