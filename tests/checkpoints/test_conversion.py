import pytest
import torch
from mmdet.registry import MODELS

from se_det.checkpoints import convert_weights, inspect_weights, read_checkpoint
from se_det.errors import UsageError

from .conftest import BACKBONE, assert_same


@pytest.fixture
def source(legacy, save):
    """A file of the legacy layout, with a classifier."""
    return save({**legacy, 'last_linear.weight': torch.zeros(1000, 256)})['checkpoint']


def test_a_converted_file_loads_key_for_key_and_describes_its_backbone(trained, source, tmp_path):
    converted = str(tmp_path / 'new' / 'ours.pth')
    report = convert_weights(source, converted)
    assert 'ours.pth: backbone' in report and "stem_pool='ceil'" in report
    assert 'left out: last_linear.weight' in report
    trained.load_state_dict(read_checkpoint(converted)['state_dict'], strict=True)
    init_cfg = dict(type='SEPretrained', checkpoint=converted)
    with pytest.raises(UsageError, match=r"has style='pytorch', stem_pool='padded'\. Set"):
        MODELS.build(dict(BACKBONE, init_cfg=init_cfg)).init_weights()
    backbone = MODELS.build(dict(BACKBONE, style='caffe', stem_pool='ceil', init_cfg=init_cfg))
    backbone.init_weights()
    assert_same(backbone, trained.state_dict())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(destination='ours.bin'), r'must end in \.pth'),
        (dict(graft=True), r'has SE already .*Remove --graft'),
        (dict(layout='caffe'), "No layout 'caffe'"),
        (dict(layout='timm'), r'missing: layer1\.0\.se\.fc1.*unexpected: layer1\.0\.se_module'),
        (dict(layout='mmpretrain'), r'unexpected: .*se_module'),
        (dict(layout='plain', graft=True), 'they have channel attention'),
        (dict(destination='mine.pth/ours.pth'), 'cannot be written'),
        (dict(destination='mine.pth'), 'exists'),
        (dict(destination='weights.pth'), 'exists'),  # the source
    ],
)
def test_what_cannot_be_converted_writes_nothing(source, tmp_path, options, message):
    (tmp_path / 'mine.pth').write_text('mine')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    options = {'destination': 'ours.pth', **options}
    options['destination'] = str(tmp_path / options['destination'])
    with pytest.raises(UsageError, match=message):
        convert_weights(source, **options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ('change', 'graft', 'message'),
    [
        (lambda w: w, False, r'plain ResNet\. Add --graft'),
        (
            lambda w: {k: v for k, v in w.items() if k != 'layer3.1.conv2.weight'},
            True,
            r'1 missing: layer3\.1\.conv2\.weight',
        ),
        (
            lambda w: {**w, 'layer1.0.conv2.fc1.weight': torch.zeros(1)},
            True,
            r'1 unexpected: layer1\.0\.conv2\.fc1\.weight',
        ),
        (
            lambda w: {**w, 'layer2.0.context_block.conv_mask.weight': torch.zeros(1)},
            True,
            r'plugins: layer2\.0\.context_block.*init_cfg=dict',
        ),
        (
            lambda w: {k: v for k, v in w.items() if 'layer3.5' not in k},
            True,
            'does not have the blocks of a ResNet',
        ),
        (lambda w: {k: v for k, v in w.items() if 'bn3' not in k}, True, 'no norm layer1.0.bn3'),
    ],
    ids=['not grafted', 'incomplete', 'ResNeSt', 'GCNet', 'depth', 'no norm'],
)
def test_an_incomplete_backbone_is_not_written(plain, save, tmp_path, change, graft, message):
    source = save(change(plain))['checkpoint']
    with pytest.raises(UsageError, match=message):
        convert_weights(source, str(tmp_path / 'ours.pth'), graft=graft)
    assert not (tmp_path / 'ours.pth').exists()


@pytest.mark.parametrize(
    'backbone',
    [
        dict(depth=18, base_channels=16),
        dict(se_cfg=dict(stages=(True, True, True, False), reduction=8)),
        dict(se_cfg=dict(stages=(False, True, True, True), reduction=(16, 4, 8, 8))),
        dict(num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,)),
        dict(norm_cfg=dict(type='GN', num_groups=8)),
        dict(deep_stem=True, avg_down=True, in_channels=1),
        dict(dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(False, True, True, True)),
        dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=1), position='after_conv3')]),
    ],
    ids=str,
)
def test_every_kind_of_se_backbone_converts(backbone, save, tmp_path):
    ours = MODELS.build({**BACKBONE, **backbone})
    convert_weights(save(ours.state_dict())['checkpoint'], str(tmp_path / 'ours.pth'))
    written = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    assert written.keys() == ours.state_dict().keys()
    assert_same(ours, written)


def test_the_classes_of_a_detector_are_kept(trained, save, tmp_path):
    classes = dict(classes=('cell', 'dust'), palette=[(0, 0, 0), (1, 1, 1)])
    weights = {f'backbone.{key}': tensor for key, tensor in trained.state_dict().items()}
    weights['neck.weight'] = torch.zeros(1)
    checkpoint = dict(state_dict=weights, meta=dict(dataset_meta=classes, epoch=12))
    report = convert_weights(save(checkpoint)['checkpoint'], str(tmp_path / 'detector.pth'))
    assert 'left out' not in report
    meta = read_checkpoint(tmp_path / 'detector.pth')['meta']
    assert meta['dataset_meta'] == classes
    assert 'epoch' not in meta


def test_inspection(source):
    lines = inspect_weights(source).splitlines()
    text = {line.partition(':')[0]: line.partition(':')[2].strip() for line in lines}
    assert text['layout'] == 'legacy'
    assert text['backbone'] == (
        "dict(type='SEResNet', depth=50, base_channels=8, style='caffe', stem_pool='ceil')"
    )
    assert text['SE'] == 'yes'
    assert text['also in it'] == 'last_linear'
    assert text['weights'].startswith('382 keys, 0.4')


def test_inspection_of_a_public_file(trained, save):
    path = save(trained.state_dict(), 'seresnet50_ra_224-8efdb4bb.pth')['checkpoint']
    text = inspect_weights(path)
    for part in ('timm/seresnet50.ra2_in1k', 'Apache-2.0', '80.26 %, strong', '123.675'):
        assert part in text
