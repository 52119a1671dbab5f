import pytest

PAPER = {  # GFLOPs of table 2; parameters with the classifier
    'faster_rcnn_r50.py': (3.86, 25_557_032),
    'faster_rcnn_se_r50.py': (3.87, 28_088_024),
    'faster_rcnn_se_r101.py': (7.60, 49_326_872),
    'faster_rcnn_se_x50_32x4d.py': (4.25, 27_559_896),
}


def test_costs_are_the_papers(run_here):
    printed = run_here('complexity.py', *PAPER).stdout
    rows = [line.strip('| ').split(' | ') for line in printed.splitlines()[2:]]
    for config, whole, backbone, gflops in rows:
        papers, parameters = PAPER.pop(config)
        assert float(backbone) == pytest.approx((parameters - 2048 * 1000 - 1000) / 1e6, abs=5e-3)
        # the paper's ResNets have the stride on the first 1x1 convolution, ours on the 3x3
        assert float(gflops) == pytest.approx(papers, rel=0.08)
        assert float(whole) > float(backbone)
    assert not PAPER
