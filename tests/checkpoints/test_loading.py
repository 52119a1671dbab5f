import logging
import re
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.logging import MMLogger

from se_det.checkpoints import ZOO, SEPretrained
from se_det.checkpoints.layouts import to_ours
from se_det.checkpoints.loading import fetch
from se_det.errors import UsageError

BACKBONE = dict(type='SEResNet', depth=50, base_channels=8)


def _renamed(weights, *replacements, prefix=''):
    renamed = {}
    for key, tensor in weights.items():
        for pattern, replacement in replacements:
            key = re.sub(pattern, replacement, key)
        renamed[prefix + key] = tensor
    return renamed


def _legacy(weights):
    return _renamed(weights, (r'^(conv1|bn1)', r'layer0.\1'), (r'\.se\.', '.se_module.'))


def _mmpretrain(weights):
    return _renamed(weights, (r'\.se\.fc([12])\.', r'.se_layer.conv\1.conv.'), prefix='backbone.')


def _old_mmpretrain(weights):
    return _renamed(weights, (r'\.se\.fc([12])\.', r'.se_layer.conv\1.'))


def _bias_free(weights):
    weights = {k: v for k, v in weights.items() if not re.search(r'\.se\.fc[12]\.bias$', k)}
    weights = {k: v[:, :, 0, 0] if '.se.' in k else v for k, v in weights.items()}
    return _renamed(weights, (r'\.se\.fc1\.', '.se.fc.0.'), (r'\.se\.fc2\.', '.se.fc.2.'))


LAYOUTS = {
    'timm': (lambda weights: weights, 'fc.weight'),
    'legacy': (_legacy, 'last_linear.weight'),
    'mmpretrain': (_mmpretrain, 'head.fc.weight'),
    'mmpretrain, old': (_old_mmpretrain, 'head.fc.weight'),
    'bias-free': (_bias_free, 'fc.weight'),
}
WRAPPERS = {
    'bare': lambda weights: weights,
    'state_dict': lambda weights: dict(state_dict=weights, meta=dict(epoch=3)),
    'model': lambda weights: dict(model=weights, optimizer={}),
    'DataParallel': lambda weights: _renamed(weights, prefix='module.'),
}


@pytest.fixture(scope='module')
def trained():
    """A backbone whose every weight is random, batch norm's and the biases included."""
    torch.manual_seed(0)
    backbone = MODELS.build(BACKBONE)
    for name, tensor in backbone.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if 'running_var' in name else tensor.normal_(0, 0.1)
    return backbone


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
@pytest.mark.parametrize(('rename', 'classifier'), LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_in_every_wrapper_loads_whole(trained, rename, classifier, wrap, tmp_path):
    if rename is _bias_free:
        for name, parameter in trained.named_parameters():
            if re.search(r'\.se\.fc[12]\.bias$', name):
                torch.nn.init.zeros_(parameter)
    weights = {**rename(trained.state_dict()), classifier: torch.zeros(1000, 256)}
    torch.save(wrap(weights), tmp_path / 'weights.pth')
    cfg = dict(BACKBONE, init_cfg=dict(type='SEPretrained', checkpoint=f'{tmp_path}/weights.pth'))
    loaded = MODELS.build(cfg)
    loaded.init_weights()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_whole_detector_gives_its_backbone(trained):
    weights = _renamed(trained.state_dict(), prefix='backbone.')
    weights['neck.lateral_convs.0.conv.weight'] = torch.zeros(1)
    found, layout = to_ours(dict(state_dict=weights))
    assert layout.name == 'timm'
    assert found.keys() == trained.state_dict().keys()


def test_deformable_convolutions_keep_what_was_loaded(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / 'weights.pth')
    cfg = dict(
        BACKBONE,
        dcn=dict(type='DCNv2', deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
        init_cfg=dict(type='SEPretrained', checkpoint=f'{tmp_path}/weights.pth'),
    )
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    name = 'layer2.0.conv2.weight'
    assert torch.equal(backbone.state_dict()[name], trained.state_dict()[name])


def test_the_log_says_what_was_loaded(trained, tmp_path):
    torch.save(trained.state_dict(), tmp_path / 'weights.pth')
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    SEPretrained(f'{tmp_path}/weights.pth')(MODELS.build(BACKBONE))
    logger.removeHandler(handler)
    count = len(trained.state_dict())
    assert any(f'Loaded {count} of {count}' in text and 'timm' in text for text in records)


def _without(weights, pattern):
    return {key: tensor for key, tensor in weights.items() if not re.search(pattern, key)}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: _without(w, r'layer1\.0\.bn3'), r'5 missing: layer1\.0\.bn3\.weight'),
        (lambda w: {**w, 'extra.weight': torch.zeros(1)}, r'1 unexpected: extra\.weight'),
        (
            lambda w: {**w, 'layer1.0.se.fc1.bias': torch.zeros(7)},
            r'of another shape: layer1\.0\.se\.fc1\.bias \(7,\) instead of \(2,\)',
        ),
        (lambda w: _without(w, r'\.se\.'), r'not the weights of an SE-ResNet.*conv1\.weight'),
    ],
    ids=['missing', 'unexpected', 'misshapen', 'plain ResNet'],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(trained, tmp_path, change, message):
    torch.save(change(trained.state_dict()), tmp_path / 'weights.pth')
    backbone = MODELS.build(BACKBONE)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UsageError, match=message):
        SEPretrained(f'{tmp_path}/weights.pth')(backbone)
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())


def test_public_files_are_named_after_their_hash():
    assert all(re.fullmatch(r'[0-9a-f]{8}', weights.sha256_head) for weights in ZOO.values())


@pytest.mark.parametrize('name', ZOO)
def test_the_backbone_of_a_public_file_can_be_built(name):
    with torch.device('meta'):
        assert MODELS.build(ZOO[name].backbone).depth == ZOO[name].backbone['depth']


def _serve(monkeypatch, content):
    """Let torch's hub download ``content`` instead of what is at a URL."""

    def urlopen(request, *args, **kwargs):
        path = Path(torch.hub.get_dir(), 'served')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return original(path.as_uri())

    original = torch.hub.urlopen
    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)


def test_a_download_with_the_wrong_hash_leaves_nothing_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    _serve(monkeypatch, b'not the published file')
    with pytest.raises(UsageError, match=r'could not be downloaded: invalid hash value'):
        fetch('mmpretrain/se_resnet50')
    assert not list((tmp_path / 'hub' / 'checkpoints').iterdir())


def test_a_download_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    _serve(monkeypatch, b'some file')
    path = fetch('https://example.org/weights.pth')
    assert path.read_bytes() == b'some file'
    monkeypatch.setattr(torch.hub, 'urlopen', None)
    assert fetch('https://example.org/weights.pth') == path


def test_no_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def urlopen(*args, **kwargs):
        raise OSError('Network is unreachable')

    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    with pytest.raises(UsageError, match=r'Network is unreachable.*put it at .*ae206104\.pth'):
        fetch('mmpretrain/se_resnet50')


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match=r"No weights 'se_resnet50'.*mmpretrain/se_resnet101"):
        fetch('se_resnet50')
