"""The sweep over MMDetection's configs, on a few of them."""

import pytest

from se_det.analysis.zoo_sweep import (
    OK,
    Outcome,
    algorithm,
    as_markdown,
    check_building,
    sweep,
    zoo_configs,
)
from se_det.analysis.zoo_training import Training, by_algorithm, check_training, one_of_each
from se_det.errors import UsageError


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
    outcome = check_building(config)
    assert outcome == Outcome(config, OK, OK, OK, OK, OK)


def test_a_config_of_another_backbone():
    outcome = check_building('mmdet::yolox/yolox_s_8xb8-300e_coco.py')
    assert (outcome.loads, outcome.builds) == (OK, None)
    assert 'CSPDarknet' in outcome.swaps


def test_a_sweep_goes_on_where_it_stopped(tmp_path):
    checked = []

    def check(config):
        checked.append(config)
        return Outcome(config, loads=OK)

    results = tmp_path / 'new' / 'results.jsonl'
    first = sweep('abc', results, check, Outcome)
    next(first), next(first)
    first.close()
    again = list(sweep('abc', results, check, Outcome))
    assert [outcome.config for outcome in again] == ['a', 'b', 'c'] == checked


def test_the_summary_counts_and_gives_reasons():
    outcomes = [
        Outcome('mmdet::atss/a.py', OK, OK, OK, OK, OK),
        Outcome('mmdet::boxinst/b.py', OK, OK, OK, 'needs skimage', 'needs skimage'),
        Outcome('mmdet::boxinst/c.py', OK, OK, OK, 'needs skimage', 'needs skimage'),
        Outcome('mmdet::sort/d.py', loads='no file'),
        Outcome('mmdet::swin/e.py', OK, 'SwinTransformer'),
    ]
    text = as_markdown(outcomes)
    for line in (
        '5 configs, 3 with a backbone to swap, in 2 folders:',
        '| inherits | 3/3 |',
        '| builds | 1/3 |',
        '| boxinst | builds | 2 | needs skimage |',
        '- mmdet::sort/d.py',
    ):
        assert line in text.splitlines()
    assert 'Swin' not in text


def test_the_config_that_stands_for_an_algorithm():
    ok = dict(loads=OK, swaps=OK, builds_plain=OK)
    outcomes = [
        Outcome('mmdet::a/a_r101.py', **ok),
        Outcome('mmdet::a/a_r50_2x.py', **ok),
        Outcome('mmdet::a/a_r50.py', **{**ok, 'builds_plain': 'needs skimage'}),
        Outcome('mmdet::b/b_r50.py', **{**ok, 'builds_plain': 'needs skimage'}),
        Outcome('mmdet::c/c_swin.py', loads=OK, swaps='SwinTransformer'),
    ]
    assert one_of_each(outcomes) == ['mmdet::a/a_r50_2x.py', 'mmdet::b/b_r50.py']
    assert algorithm('mmdet::gn+ws/x.py') == 'gn+ws'


def test_a_step_of_training_and_a_prediction(shared):
    config = 'mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py'
    assert check_training(config, shared / 'coco_mini') == Training(config, OK, OK, OK, OK)


def test_no_images_to_train_on(tmp_path):
    with pytest.raises(UsageError, match='Name the folder of COCO: --train DIR'):
        check_training('mmdet::atss/atss_r50_fpn_1x_coco.py', tmp_path)


def test_the_table_by_algorithm():
    built = [
        Outcome('mmdet::a/x.py', OK, OK, OK, OK, OK),
        Outcome('mmdet::a/y.py', OK, OK, OK, 'no package', 'no package'),
        Outcome('mmdet::b/z.py', OK, 'no ResNet'),
    ]
    trained = [Training('mmdet::a/x.py', OK, 'no gradient', 'no package', 'no package')]
    assert by_algorithm(built, trained)[2:] == [
        '| a | 1/2 | **plain only** | neither plain nor SE |'
    ]
