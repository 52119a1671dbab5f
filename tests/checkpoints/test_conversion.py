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


def test_a_converted_file_loads_key_for_key_and_remembers_its_backbone(trained, legacy, tmp_path):
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
    ],
)
def test_what_cannot_be_converted_writes_nothing(legacy, tmp_path, options, message):
    before = set(tmp_path.iterdir())
    options = {'destination': 'ours.pth', **options}
    options['destination'] = str(tmp_path / options['destination'])
    with pytest.raises(UsageError, match=message):
        convert_weights(legacy, **options)
    assert set(tmp_path.iterdir()) == before


def test_inspection(legacy):
    lines = inspect_weights(legacy).splitlines()
    text = {line.partition(':')[0]: line.partition(':')[2].strip() for line in lines}
    assert text['layout'] == 'legacy'
    assert text['backbone'] == "dict(type='SEResNet', depth=50, style='caffe', stem_pool='ceil')"
    assert text['SE'] == 'yes'
    assert text['beside it'] == 'last_linear'
    assert text['weights'].startswith('382 keys, 0.4')


def test_inspection_of_a_public_file(trained, save):
    path = save(trained.state_dict(), 'seresnet50_ra_224-8efdb4bb.pth')['checkpoint']
    text = inspect_weights(path)
    for part in ('timm/seresnet50.ra2_in1k', 'Apache-2.0', '80.26 %, strong', '123.675'):
        assert part in text
