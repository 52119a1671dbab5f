"""The sweep over MMDetection's configs, with configs of thirty algorithms."""

from dataclasses import replace

import pytest

from se_det.errors import UsageError
from se_det.swap import swap_backbone
from tools.dev.sweep import building, training
from tools.dev.sweep.building import (
    OK,
    Outcome,
    algorithm,
    as_markdown,
    check_building,
    sweep,
    zoo_configs,
)
from tools.dev.sweep.training import Training, check_training, one_of_each

# One config of each of thirty algorithms.
ALGORITHMS = [
    'atss/atss_r50_fpn_1x_coco',
    'autoassign/autoassign_r50-caffe_fpn_1x_coco',
    'boxinst/boxinst_r50_fpn_ms-90k_coco',
    'cascade_rcnn/cascade-mask-rcnn_x101-64x4d_fpn_20e_coco',
    'centernet/centernet_r18-dcnv2_8xb16-crop512-140e_coco',
    'cityscapes/mask-rcnn_r50_fpn_1x_cityscapes',
    'conditional_detr/conditional-detr_r50_8xb2-50e_coco',
    'crowddet/crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman',
    'deepsort/deepsort_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval',
    'deformable_detr/deformable-detr-refine_r50_16xb2-50e_coco',
    'detr/detr_r101_8xb2-500e_coco',
    'dino/dino-4scale_r50_8xb2-12e_coco',
    'empirical_attention/faster-rcnn_r50-attn0010-dcn_fpn_1x_coco',
    'faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco',
    'fcos/fcos_x101-64x4d_fpn_gn-head_ms-640-800-2x_coco',
    'gcnet/mask-rcnn_x101-32x4d-syncbn-gcb-r4-c3-c5_fpn_1x_coco',
    'gn+ws/mask-rcnn_x50-32x4d_fpn_gn-ws-all_2x_coco',
    'lad/lad_r101-paa-r50_fpn_2xb8_coco_1x',
    'ld/ld_r34-gflv1-r101_fpn_1x_coco',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic',
    'mask2former_vis/mask2former_r101_8xb2-8e_youtubevis2021',
    'mask_rcnn/mask-rcnn_x101-32x8d_fpn_ms-poly-1x_coco',
    'panoptic_fpn/panoptic-fpn_r101_fpn_ms-3x_coco',
    'qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval',
    'retinanet/retinanet_r50-caffe_fpn_ms-3x_coco',
    'scratch/faster-rcnn_r50-scratch_fpn_gn-all_6x_coco',
    'selfsup_pretrain/mask-rcnn_r50-mocov2-pre_fpn_1x_coco',
    'soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco',
    'sparse_rcnn/sparse-rcnn_r101_fpn_300-proposals_crop-ms-480-800-3x_coco',
    'yolact/yolact_r50_8xb8-55e_coco',
]


def test_all_configs_of_the_zoo_are_listed():
    configs = zoo_configs()
    assert len(configs) == len(set(configs)) > 800
    assert 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py' in configs
    assert not any('_base_' in config for config in configs)


QUICK = ('deepsort', 'ld')  # a tracker with two backbones, and a teacher


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=() if name.split('/')[0] in QUICK else pytest.mark.long)
        for name in ALGORITHMS
    ],
)
def test_configs_that_build_also_build_as_twins(name):
    config = f'mmdet::{name}.py'
    outcome = check_building(config)
    plain = outcome.builds_plain
    assert plain == OK or 'install' in plain
    assert outcome.backbones.startswith('SE')
    assert replace(outcome, backbones=None) == Outcome(config, OK, OK, OK, plain, plain)


def test_a_config_of_another_backbone():
    outcome = check_building('mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py')
    assert (outcome.loads, outcome.builds) == (OK, None)
    assert 'CSPNeXt' in outcome.swaps


def test_a_sweep_resumes(tmp_path):
    checked = []

    def check(config):
        checked.append(config)
        return Outcome(config, loads=OK)

    results = tmp_path / 'new' / 'results.jsonl'
    first = sweep('abc', results, check, Outcome)
    next(first), next(first)
    first.close()
    with results.open('a') as file:
        file.write('{"config": "c", "lo')  # as if killed while writing
    again = list(sweep('abc', results, check, Outcome))
    assert [outcome.config for outcome in again] == ['a', 'b', 'c'] == checked
    assert list(sweep('abc', results, None, Outcome)) == again


def test_an_error_is_an_outcome(monkeypatch):
    def fail(*_, **__):
        raise KeyError('a bug')

    config = 'mmdet::atss/atss_r50_fpn_1x_coco.py'
    monkeypatch.setattr(building, 'child_config', fail)
    expected = Outcome(config, OK, OK, "KeyError: 'a bug'", OK, OK, 'SEResNet')
    assert check_building(config) == expected
    monkeypatch.setattr(building, 'swap_backbone', fail)
    assert check_building(config) == Outcome(config, OK, "KeyError: 'a bug'")


def test_the_summary_counts_and_gives_reasons():
    outcomes = [
        Outcome('mmdet::atss/a.py', OK, OK, OK, OK, OK),
        Outcome('mmdet::boxinst/b.py', OK, OK, OK, 'int | str', 'int | str'),
        Outcome('mmdet::boxinst/c.py', OK, OK, OK, 'int | str', 'int | str'),
        Outcome('mmdet::sort/d.py', loads='no file'),
        Outcome('mmdet::swin/e.py', OK, 'NothingToSwap: SwinTransformer'),
        Outcome('mmdet::gn/f.py', OK, 'UsageError: no weights'),
    ]
    outcomes[0] = replace(outcomes[0], backbones='SEHRNet, SEResNet')
    text = as_markdown(outcomes)
    for line in (
        '6 configs, 3 with a backbone to swap, in 2 folders:',
        '| inherits | 3/3 |',
        '| SEHRNet | 1 |',
        '| builds | 1/3 |',
        '| boxinst | builds | 2 | int \\| str |',
        '- mmdet::sort/d.py',
        '- mmdet::gn/f.py: UsageError: no weights',
    ):
        assert line in text.splitlines()
    assert 'Swin' not in text


def test_the_choice_of_one_config_of_each_algorithm():
    ok = dict(loads=OK, swaps=OK, builds_plain=OK)
    outcomes = [
        Outcome('mmdet::a/a_r101.py', **ok),
        Outcome('mmdet::a/a_r50_2x.py', **ok),
        Outcome('mmdet::a/a_r50.py', **{**ok, 'builds_plain': 'needs skimage'}),
        Outcome('mmdet::b/b_r50.py', **{**ok, 'builds_plain': 'needs skimage'}),
        Outcome('mmdet::a/a_hrnetv2p-w18.py', **ok, backbones='SEHRNet'),
        Outcome('mmdet::a/a_hrnetv2p-w18_2x.py', **ok, backbones='SEHRNet'),
        Outcome('mmdet::c/c_swin.py', loads=OK, swaps='SwinTransformer'),
    ]
    assert one_of_each(outcomes) == [
        'mmdet::a/a_hrnetv2p-w18.py',
        'mmdet::a/a_r50_2x.py',
        'mmdet::b/b_r50.py',
    ]
    assert algorithm('mmdet::gn+ws/x.py') == 'gn+ws'


@pytest.mark.long
def test_a_step_of_training_and_a_prediction(shared):
    config = 'mmdet::ld/ld_r18-gflv1-r101_fpn_1x_coco.py'
    assert check_training(config, shared / 'coco_mini') == Training(config, *[OK] * 6)


@pytest.mark.long
@pytest.mark.parametrize('name', ALGORITHMS)
def test_configs_that_train_also_train_as_twins(name, shared):
    outcome = check_training(f'mmdet::{name}.py', shared / 'coco_mini')
    for plain, twin in (
        (outcome.starts_plain, outcome.starts),
        (outcome.trains_plain, outcome.trains),
        (outcome.predicts_plain, outcome.predicts),
    ):
        assert plain == OK or 'install' in plain
        assert twin == plain


def test_a_twin_with_wrong_preprocessing_and_one_without_se(shared, monkeypatch):
    name = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    twin, coco = swap_backbone(name), shared / 'coco_mini'
    monkeypatch.setattr(training, 'swap_backbone', lambda plain: twin)
    twin.model.data_preprocessor.bgr_to_rgb = False
    assert 'was trained on RGB images' in check_training(name, coco).starts
    monkeypatch.setattr(training, 'swap_backbone', lambda plain: plain)
    outcome = check_training(name, coco)
    assert (outcome.starts, outcome.trains_plain) == (OK, OK)
    assert 'no gradient reaches the SE blocks' in outcome.trains


def test_no_images_to_train_on(tmp_path):
    with pytest.raises(UsageError, match='Name the folder of COCO: --train DIR'):
        check_training('mmdet::atss/atss_r50_fpn_1x_coco.py', tmp_path)
