import re

import pytest
import torch

from se_det.checkpoints.layouts import LAYOUTS, find_backbone
from se_det.errors import UsageError


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


FILES = {
    'timm': (lambda weights: weights, 'timm', 'fc.weight'),
    'legacy': (_legacy, 'legacy', 'last_linear.weight'),
    'mmpretrain': (_mmpretrain, 'mmpretrain', 'head.fc.weight'),
    'mmpretrain, old': (_old_mmpretrain, 'mmpretrain', 'head.fc.weight'),
    'bias-free': (_bias_free, 'bias-free', 'fc.weight'),
    'plain': (lambda w: {k: v for k, v in w.items() if '.se.' not in k}, 'plain', 'fc.weight'),
}


def _another(weights):
    return {key: tensor + 1 for key, tensor in weights.items()}


# Beside others; test_state_dicts.py has what training programs wrap weights in.
PLACES = {
    'alone': lambda weights: weights,
    'tracker': lambda weights: {
        **_renamed(_another(weights), prefix='reid.'),
        **_renamed(weights, prefix='detector.'),
    },
    'teacher and student': lambda weights: {
        **_renamed(_another(weights), prefix='student.'),
        **_renamed(weights, prefix='teacher.'),
    },
}


@pytest.mark.parametrize('place', PLACES.values(), ids=PLACES)
@pytest.mark.parametrize(('rename', 'layout', 'classifier'), FILES.values(), ids=FILES)
def test_every_layout_is_found_whole(trained, plain, rename, layout, classifier, place):
    weights = dict(trained.state_dict())
    if layout == 'bias-free':
        biases = [key for key in weights if re.search(r'\.se\.fc[12]\.bias$', key)]
        weights.update({key: torch.zeros_like(weights[key]) for key in biases})
    found = find_backbone(place({**rename(weights), classifier: torch.zeros(1000, 256)}))
    assert found.layout.name == layout
    _assert_equal(found.weights, plain if layout == 'plain' else weights)
    assert list(found.beside) == [classifier]
    assert not found.is_detector


def _assert_equal(weights, expected):
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())


@pytest.mark.parametrize('outer', ['', 'module.', 'teacher.'])
def test_neck_and_heads_of_a_detector_are_beside_the_backbone(trained, outer):
    detector = _renamed(trained.state_dict(), prefix=f'{outer}backbone.')
    detector[f'{outer}neck.lateral_convs.0.conv.weight'] = torch.zeros(1)
    found = find_backbone(dict(state_dict=detector))
    assert found.prefix == f'{outer.removeprefix("module.")}backbone.'
    assert found.weights.keys() == trained.state_dict().keys()
    assert list(found.beside) == ['neck.lateral_convs.0.conv.weight']
    assert found.is_detector


def test_biases_in_the_bias_free_layout_are_kept(trained):
    expected = dict(trained.state_dict())
    weights = _renamed(expected, (r'\.se\.fc1\.', '.se.fc.0.'), (r'\.se\.fc2\.', '.se.fc.2.'))
    found = find_backbone(weights)
    assert found.layout.name == 'bias-free'
    _assert_equal(found.weights, expected)


@pytest.mark.parametrize(
    'gate', ['se.convs', 'se.conv_reduce', 'se.channels.fc1', 'se_module.conv']
)
@pytest.mark.parametrize('layout', [None, 'plain'])
def test_other_channel_attention_is_not_a_plain_resnet(plain, gate, layout):
    weights = {**plain, f'layer1.0.{gate}.weight': torch.zeros(1, 1, 3)}
    with pytest.raises(UsageError, match=rf'channel attention.*layer1\.0\.{gate}\.weight'):
        find_backbone(weights, layout)


def test_the_bias_of_caffe2s_first_convolution_is_left_out(plain):
    """mmdet's ResNet ignores it, too, in configs of the caffe style."""
    found = find_backbone({**plain, 'conv1.bias': torch.zeros(8), 'fc.weight': torch.zeros(1, 1)})
    assert found.weights.keys() == plain.keys()
    assert set(found.beside) == {'conv1.bias', 'fc.weight'}
    assert not found.is_detector


def test_the_plain_layout_cannot_be_forced_on_se_weights(trained):
    with pytest.raises(UsageError, match='plain ResNet: they have channel attention'):
        find_backbone(trained.state_dict(), 'plain')


@pytest.mark.parametrize(
    ('key', 'shape'),
    [
        ('conv1.weight', ()),
        ('bn1.weight', (0,)),
        ('layer1.0.conv2.weight', (3,)),
        ('layer1.0.bn3.bias', (3, 3)),
        ('layer2.0.se.fc1.weight', (0, 1, 1, 1)),
    ],
)
def test_a_tensor_with_a_shape_that_does_not_suit_its_key(trained, key, shape):
    weights = {**trained.state_dict(), key: torch.zeros(shape)}
    with pytest.raises(UsageError, match=rf'{key} has the shape'):
        find_backbone(weights)


def test_files_without_num_batches_tracked(trained):
    weights = {k: v for k, v in trained.state_dict().items() if 'num_batches' not in k}
    found = find_backbone(weights)
    assert found.weights.keys() == trained.state_dict().keys()
    assert found.weights['bn1.num_batches_tracked'] == 0


def test_a_layout_can_be_forced(trained):
    mixed = {**trained.state_dict(), 'layer1.0.se_module.fc1.weight': torch.zeros(1)}
    with pytest.raises(UsageError, match='--layout'):
        find_backbone(mixed)
    assert find_backbone(mixed, 'timm').layout.name == 'timm'
    with pytest.raises(UsageError, match=rf"No layout 'caffe'\. Known: {', '.join(LAYOUTS)}"):
        find_backbone(mixed, 'caffe')


@pytest.mark.parametrize('layout', [None, 'timm'])
def test_weights_of_another_network(layout):
    with pytest.raises(UsageError, match=r'not the weights of a ResNet.* first keys: features'):
        find_backbone({'features.0.weight': torch.zeros(1)}, layout)
