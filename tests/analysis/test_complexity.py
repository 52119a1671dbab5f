import pytest

from se_det.analysis.complexity import complexity
from se_det.engine.launch import load_config


@pytest.mark.parametrize(
    ('config', 'gflops', 'classifier_parameters'),
    [  # GFLOPs of the paper's table 2, which counts the classifier's 0.002 too
        ('faster_rcnn_r50', 3.86, 25_557_032),
        ('faster_rcnn_se_r50', 3.87, 28_088_024),
        ('faster_rcnn_se_r101', 7.60, 49_326_872),
        ('faster_rcnn_se_x50_32x4d', 4.25, 27_559_896),
    ],
)
def test_costs_are_the_papers(config, gflops, classifier_parameters):
    cost = complexity(load_config(f'configs/{config}.py'))
    assert cost.backbone_parameters == classifier_parameters - 2048 * 1000 - 1000
    # the paper's ResNets have the stride on the first 1x1 convolution, ours on the 3x3
    assert cost.backbone_multiply_adds / 1e9 == pytest.approx(gflops, rel=0.08)
    assert cost.parameters > cost.backbone_parameters
