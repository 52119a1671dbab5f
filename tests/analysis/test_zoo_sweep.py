"""The sweep over MMDetection's configs, on a few of them."""

import pytest

from se_det.analysis import zoo_sweep
from se_det.analysis.zoo_sweep import OK, Outcome, as_markdown, check, sweep, zoo_configs


def test_all_configs_of_the_zoo_are_listed():
    configs = zoo_configs()
    assert len(configs) == len(set(configs)) > 800
    assert 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py' in configs
    assert not any('_base_' in config for config in configs)


@pytest.mark.parametrize(
    'config',
    [
        'mmdet::detr/detr_r50_8xb2-150e_coco.py',
        'mmdet::gn+ws/mask-rcnn_x50-32x4d_fpn_gn-ws-all_2x_coco.py',
        'mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py',
        'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py',
        'mmdet::solov2/solov2_r50_fpn_1x_coco.py',
    ],
)
def test_a_config_that_does_all(config):
    outcome = check(config)
    assert outcome == Outcome(config, OK, OK, OK, OK, OK)
    assert outcome.algorithm == config.partition('::')[2].partition('/')[0]


def test_a_config_of_another_backbone():
    outcome = check('mmdet::yolox/yolox_s_8xb8-300e_coco.py')
    assert (outcome.loads, outcome.builds) == (OK, None)
    assert 'CSPDarknet' in outcome.swaps


def test_a_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    checked = []
    monkeypatch.setattr(zoo_sweep, 'check', lambda c: checked.append(c) or Outcome(c, loads=OK))
    results = tmp_path / 'new' / 'results.jsonl'
    first = sweep('abc', results)
    next(first), next(first)
    first.close()
    assert [outcome.config for outcome in sweep('abc', results)] == ['a', 'b', 'c']
    assert checked == ['a', 'b', 'c']


def test_the_summary_counts_and_gives_reasons():
    text = as_markdown(
        [
            Outcome('mmdet::atss/a.py', OK, OK, OK, OK, OK),
            Outcome('mmdet::boxinst/b.py', OK, OK, OK, 'needs skimage', 'needs skimage'),
            Outcome('mmdet::boxinst/c.py', OK, OK, OK, 'needs skimage', 'needs skimage'),
            Outcome('mmdet::sort/d.py', loads='no file'),
            Outcome('mmdet::swin/e.py', OK, 'SwinTransformer'),
        ]
    )
    for line in (
        '5 configs, 3 with a backbone to swap, in 2 folders.',
        '| written child loads as the twin | 3/3 |',
        '| twin builds | 1/3 |',
        '| builds plain but not as twin | 0/3 |',
        '| builds | needs skimage | boxinst | 2 |',
        '| loads | no file | sort | 1 |',
    ):
        assert line in text.splitlines()
    assert 'Swin' not in text
