import pytest
import torch
from mmdet.registry import MODELS

from se_det.checkpoints import convert_weights, inspect_weights, read_checkpoint
from se_det.errors import UsageError

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)


@pytest.fixture
def legacy(trained, save):
    """A file of the legacy layout, with a classifier."""
    weights = {key.replace('.se.', '.se_module.'): w for key, w in trained.state_dict().items()}
    return save({**weights, 'last_linear.weight': torch.zeros(1000, 256)})['checkpoint']


def test_a_converted_file_loads_key_for_key_and_describes_its_backbone(trained, legacy, tmp_path):
    converted = str(tmp_path / 'new' / 'ours.pth')
    report = convert_weights(legacy, converted)
    assert 'ours.pth: backbone' in report and "stem_pool='ceil'" in report
    weights = read_checkpoint(converted)['state_dict']
    trained.load_state_dict(weights, strict=True)
    init_cfg = dict(type='SEPretrained', checkpoint=converted)
    with pytest.raises(UsageError, match=r"has style='pytorch', stem_pool='padded'\. Set"):
        MODELS.build(dict(BACKBONE, init_cfg=init_cfg)).init_weights()
    backbone = MODELS.build(dict(BACKBONE, style='caffe', stem_pool='ceil', init_cfg=init_cfg))
    backbone.init_weights()
    assert all(torch.equal(w, weights[key]) for key, w in backbone.state_dict().items())


def test_the_destination_is_never_overwritten(legacy, tmp_path):
    (tmp_path / 'precious.pth').write_text('mine')
    with pytest.raises(UsageError, match='exists'):
        convert_weights(legacy, str(tmp_path / 'precious.pth'))
    assert (tmp_path / 'precious.pth').read_text() == 'mine'
    with pytest.raises(UsageError, match='exists'):
        convert_weights(legacy, legacy)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(destination='ours.bin'), r'must end in \.pth'),
        (dict(graft=True), r'has SE already .*Remove --graft'),
        (dict(layout='caffe'), "No layout 'caffe'"),
        (dict(layout='timm'), r'missing: layer1\.0\.se\.fc1.*unexpected: layer1\.0\.se_module'),
        (dict(layout='mmpretrain'), r'unexpected: .*se_module'),
        (dict(layout='plain', graft=True), 'they have channel attention'),
        (dict(destination='legacy.pth/ours.pth'), 'cannot be written'),
    ],
)
def test_what_cannot_be_converted_writes_nothing(legacy, tmp_path, options, message):
    (tmp_path / 'legacy.pth').write_text('a file, no folder')
    before = set(tmp_path.iterdir())
    options = {'destination': 'ours.pth', **options}
    options['destination'] = str(tmp_path / options['destination'])
    with pytest.raises(UsageError, match=message):
        convert_weights(legacy, **options)
    assert set(tmp_path.iterdir()) == before


def _plain(trained):
    return {key: tensor for key, tensor in trained.state_dict().items() if '.se.' not in key}


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda w: w, {}, r'plain ResNet\. Add --graft'),
        (
            lambda w: {k: v for k, v in w.items() if k != 'layer3.1.conv2.weight'},
            dict(graft=True),
            r'1 missing: layer3\.1\.conv2\.weight',
        ),
        (
            lambda w: {**w, 'layer1.0.conv2.fc1.weight': torch.zeros(1)},
            dict(graft=True),
            r'1 unexpected: layer1\.0\.conv2\.fc1\.weight',
        ),
        (
            lambda w: {**w, 'layer2.0.context_block.conv_mask.weight': torch.zeros(1)},
            dict(graft=True),
            r'plugins: layer2\.0\.context_block.*init_cfg=dict',
        ),
        (
            lambda w: {k: v for k, v in w.items() if 'layer3.5' not in k},
            dict(graft=True),
            'does not have the blocks of a ResNet',
        ),
    ],
    ids=['not grafted', 'incomplete', 'ResNeSt', 'GCNet', 'depth'],
)
def test_an_incomplete_backbone_is_not_written(trained, save, tmp_path, change, options, message):
    source = save(change(_plain(trained)))['checkpoint']
    with pytest.raises(UsageError, match=message):
        convert_weights(source, str(tmp_path / 'ours.pth'), **options)
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
    ours = MODELS.build({**BACKBONE, **backbone}).state_dict()
    convert_weights(save(ours)['checkpoint'], str(tmp_path / 'ours.pth'))
    written = read_checkpoint(tmp_path / 'ours.pth')['state_dict']
    assert written.keys() == ours.keys()
    assert all(torch.equal(written[key], tensor) for key, tensor in ours.items())


def test_the_message_lists_what_was_left_out_and_classes_are_kept(trained, legacy, save, tmp_path):
    assert 'left out: last_linear.weight' in convert_weights(legacy, str(tmp_path / 'ours.pth'))
    classes = dict(classes=('cell', 'dust'), palette=[(0, 0, 0), (1, 1, 1)])
    weights = {f'backbone.{key}': tensor for key, tensor in trained.state_dict().items()}
    checkpoint = dict(
        state_dict={**weights, 'neck.weight': torch.zeros(1)},
        meta=dict(dataset_meta=classes, epoch=12),
    )
    report = convert_weights(save(checkpoint)['checkpoint'], str(tmp_path / 'detector.pth'))
    assert 'left out' not in report
    meta = read_checkpoint(tmp_path / 'detector.pth')['meta']
    assert meta['dataset_meta'] == classes
    assert 'epoch' not in meta


def test_inspection(legacy):
    lines = inspect_weights(legacy).splitlines()
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
