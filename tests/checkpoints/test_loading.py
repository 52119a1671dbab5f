import re

import pytest
import torch
from mmdet.models import FasterRCNN
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from safetensors.torch import save_file

from se_det.checkpoints import SEPretrained
from se_det.engine.launch import load_config
from se_det.errors import UsageError

from .conftest import BACKBONE, assert_same


def test_all_weights_are_loaded_and_the_log_says_so(trained, save, log):
    weights = trained.state_dict()
    init_cfg = save({**weights, 'fc.weight': torch.zeros(1000, 256)})
    backbone = MODELS.build(dict(BACKBONE, init_cfg=init_cfg))
    backbone.init_weights()
    assert_same(backbone, weights)
    loaded = rf'Loaded {len(weights)}/{len(weights)} keys .*weights\.pth \(layout: timm\)'
    left_out = r'not loaded: fc\.weight'
    assert any(re.search(f'{loaded}; {left_out}', text) for text in log)


def test_safetensors(trained, tmp_path):
    weights = {key: value.contiguous() for key, value in trained.state_dict().items()}
    save_file(weights, tmp_path / 'model.safetensors')
    backbone = MODELS.build(BACKBONE)
    SEPretrained(f'{tmp_path}/model.safetensors')(backbone)
    assert_same(backbone, weights)


def test_deformable_convolutions_keep_what_was_loaded(trained, load, log):
    dcn = dict(type='DCNv2', deform_groups=1, fallback_on_stride=False)
    backbone = load(trained.state_dict(), dcn=dcn, stage_with_dcn=(False, True, True, True))
    assert_same(backbone, trained.state_dict())
    loaded, all_keys = len(trained.state_dict()), len(backbone.state_dict())
    new = r'newly initialised: layer2\.0\.conv2\.conv_offset\.weight, .*, \.\.\.$'
    assert loaded < all_keys
    assert any(re.search(rf'Loaded {loaded}/{all_keys} keys .*{new}', text) for text in log)


def test_a_backbone_of_three_stages_takes_the_first_three(trained, load):
    three = dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
    backbone = load(trained.state_dict(), **three)
    expected = {k: v for k, v in trained.state_dict().items() if not k.startswith('layer4')}
    assert backbone.state_dict().keys() == expected.keys()
    assert_same(backbone, expected)


def _without(weights, pattern):
    return {key: tensor for key, tensor in weights.items() if not re.search(pattern, key)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: _without(w, r'layer1\.0\.bn3\.[wb]'), r'2 missing: layer1\.0\.bn3\.weight'),
        (lambda w: {**w, 'extra.weight': torch.zeros(1)}, r'1 unexpected: extra\.weight'),
        (
            lambda w: {**w, 'layer1.0.se.fc1.bias': torch.zeros(7)},
            r'of another shape: layer1\.0\.se\.fc1\.bias \(7,\) instead of \(2,\)',
        ),
        (lambda w: _without(w, r'\.se\.'), r'plain backbone, without SE.*graft=True'),
        (lambda w: _without(w, r'layer4\.0\.se\.'), r'4 missing: layer4\.0\.se\.fc1\.weight'),
    ],
    ids=['missing', 'unexpected', 'misshapen', 'plain ResNet', 'a block without SE'],
)
def test_weights_that_do_not_fit_raise_and_change_nothing(trained, save, change, message):
    init_cfg = save(change(trained.state_dict()))
    backbone = MODELS.build(BACKBONE)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        SEPretrained(init_cfg['checkpoint'])(backbone)
    assert_same(backbone, before)


@pytest.mark.parametrize(
    'init_cfg', [dict(), dict(checkpoint=3), dict(checkpoint='a', prefix='b'), dict(graft='yes')]
)
def test_arguments(init_cfg):
    backbone = MODELS.build(dict(BACKBONE, init_cfg=dict(type='SEPretrained', **init_cfg)))
    with pytest.raises(UsageError, match=r"init_cfg=dict\(type='SEPretrained', checkpoint="):
        backbone.init_weights()


KAIMING = dict(type='Kaiming', layer='Conv2d')


@pytest.mark.parametrize('kind', ['SEPretrained', SEPretrained])
def test_other_initializers_come_before(trained, save, kind):
    init_cfg = dict(save(trained.state_dict()), type=kind)
    backbone = MODELS.build(dict(BACKBONE, init_cfg=[KAIMING, init_cfg]))
    backbone.init_weights()
    assert_same(backbone, trained.state_dict())
    pretrained = dict(type='Pretrained', checkpoint='a.pth')
    for init_cfgs in ([init_cfg, KAIMING], [pretrained, init_cfg]):
        module = BaseModule(init_cfg=init_cfgs)
        message = 'must be the last in init_cfg, and cannot be combined with Pretrained'
        with pytest.raises(UsageError, match=message):
            SEPretrained('b.pth')(module)


@pytest.mark.parametrize(
    'config',
    ['detr/detr_r50_8xb2-150e_coco.py', 'dino/dino-4scale_r50_8xb2-12e_coco.py'],
)
@pytest.mark.parametrize('graft', [True, False])
def test_detectors_that_initialise_again_after_init_cfg(config, graft):
    cfg = load_config(f'mmdet::{config}').model
    cfg.backbone.update(type='SEResNet', init_cfg=None)
    cfg.init_cfg = dict(type='SEPretrained', checkpoint='weights.pth', graft=graft)
    with torch.device('meta'):
        detector = MODELS.build(cfg)
    options = ' --graft' if graft else ''
    lines = rf'convert_weights weights\.pth detector\.pth{options}\nand set\nload_from = '
    with pytest.raises(UsageError, match=lines):
        SEPretrained('weights.pth', graft=graft)(detector)


def test_another_backbone_is_an_error():
    with pytest.raises(UsageError, match=r"got ResNet.*such as type='SEResNet'"):
        SEPretrained('a.pth')(MODELS.build(dict(BACKBONE, type='ResNet')))


def test_a_whole_detector_is_loaded_and_the_log_lists_new_weights(save, log, faster_rcnn):
    torch.manual_seed(0)
    source = MODELS.build(faster_rcnn('SEResNet'))
    weights = {f'module.{key}': tensor for key, tensor in source.state_dict().items()}
    model = faster_rcnn('SEResNet', init_cfg=save(dict(state_dict=weights)))
    model['roi_head']['bbox_head']['num_classes'] = 2
    detector = MODELS.build(model)
    detector.init_weights()
    expected = _without(source.state_dict(), r'roi_head\.bbox_head\.fc_(cls|reg)')
    assert_same(detector, expected)
    head = detector.roi_head.bbox_head
    assert not head.fc_cls.bias.any()  # as mmdet initialises it
    assert any('newly initialised: roi_head.bbox_head.fc_cls.weight' in text for text in log)


def test_keys_that_a_detector_renames_are_loaded(save, log, faster_rcnn):
    """As mmdet's Mask2FormerVideo and RetinaNet do with files of other detectors."""

    class Renaming(FasterRCNN):
        def _load_from_state_dict(self, state_dict, *arguments):
            for key in [key for key in state_dict if key.startswith('old_neck.')]:
                state_dict[key.removeprefix('old_')] = state_dict.pop(key)
            super()._load_from_state_dict(state_dict, *arguments)

    source = MODELS.build(faster_rcnn('SEResNet'))
    weights = {re.sub(r'^neck\.', 'old_neck.', k): w for k, w in source.state_dict().items()}
    model = faster_rcnn('SEResNet', init_cfg=save(dict(state_dict=weights)))
    detector = MODELS.build(dict(model, type=Renaming))
    detector.init_weights()
    assert_same(detector, source.state_dict())
    assert not any('newly initialised' in text for text in log)


@pytest.mark.parametrize(
    ('checkpoint', 'found'),
    [
        ('mmpretrain/se_resnet101', 'depth=50'),
        ('timm/legacy_seresnet50.in1k', "style='pytorch', stem_pool='padded'"),
    ],
)
def test_public_weights_that_do_not_fit_are_not_downloaded(monkeypatch, checkpoint, found):
    monkeypatch.setattr('se_det.checkpoints.loading.fetch', pytest.fail)
    with pytest.raises(UsageError, match=f'it has {found}'):
        SEPretrained(checkpoint)(MODELS.build(BACKBONE))
