"""A plain model and the SE model grafted to it have bitwise equal outputs."""

import pytest
import torch
import torchvision
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from se_det.checkpoints import convert_weights, read_checkpoint
from se_det.errors import UsageError

from .conftest import BACKBONE

PLAIN = dict(fused=False)  # only the plain composition is bitwise equal


@pytest.fixture
def images():
    return torch.randn(2, 3, 75, 101, generator=torch.Generator().manual_seed(0))


def _plain(cfg):
    """A model of mmdet with random weights, also in its norms, in evaluation mode."""
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    _with_random_norms(model).eval()
    return model


def _with_random_norms(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.1, 0.3)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return model


def _twin(init_cfg, fused=False, se_cfg=None, **cfg):
    se_cfg = dict(se_cfg or {}, fused=fused)
    model = MODELS.build(dict(cfg, type=f'SE{cfg["type"]}', se_cfg=se_cfg, init_cfg=init_cfg))
    model.init_weights()
    model.eval()
    # As the plain model's weights, for the same digits.
    return model.to(memory_format=torch.contiguous_format)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='ResNet', depth=18),
        dict(type='ResNet', depth=50, style='caffe', norm_eval=True, frozen_stages=2),
        dict(type='ResNet', depth=50, deep_stem=True, avg_down=True),
        dict(type='ResNet', depth=50, norm_cfg=dict(type='GN', num_groups=8)),
        dict(type='ResNeXt', depth=50, groups=4, base_width=4),
    ],
    ids=str,
)
def test_mmdets_backbones(cfg, images, save):
    cfg = dict(cfg, base_channels=16)
    plain = _plain(cfg)
    init_cfg = save(plain.state_dict(), graft=True)
    twin, fused = (_twin(init_cfg, fused=fused, **cfg) for fused in (False, None))
    for training in (False, True):
        for model in (plain, twin, fused):
            model.train(training)
        for theirs, ours, rounded in zip(plain(images), twin(images), fused(images), strict=True):
            assert torch.equal(ours, theirs)
            assert (rounded - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_training_continues_from_torchvisions(images, save):
    """The first step changes fc2 and lowers the loss; in the second, gradients reach fc1."""
    torch.manual_seed(0)
    theirs = _with_random_norms(torchvision.models.resnet18()).eval()
    twin = _twin(save(theirs.state_dict(), graft=True), type='ResNet', depth=18, norm_eval=True)
    features = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
    for index, ours in enumerate(twin(images), start=1):
        features = getattr(theirs, f'layer{index}')(features)
        assert torch.equal(ours, features)

    twin.train()
    gates = {key: weight for key, weight in twin.named_parameters() if '.se.fc' in key}
    targets = [torch.randn_like(ours) for ours in twin(images)]
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-3)

    def loss():
        pairs = zip(twin(images), targets, strict=True)
        return sum(torch.nn.functional.mse_loss(*pair) for pair in pairs)

    def step():
        before = loss()
        optimizer.zero_grad()
        before.backward()
        optimizer.step()
        assert loss() < before

    step()
    assert all(weight.any() for key, weight in gates.items() if '.fc2.' in key)
    step()
    assert all(weight.grad.any() for weight in gates.values())


def test_frozen_stages_stay_exact_in_training(images, save):
    cfg = dict(type='ResNet', depth=50, frozen_stages=2, base_channels=16)
    plain = _plain(cfg)
    twin = _twin(save(plain.state_dict(), graft=True), **cfg)
    optimizer = torch.optim.SGD(twin.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        twin.train()
        optimizer.zero_grad()
        sum(features.square().mean() for features in twin(images)).backward()
        optimizer.step()
    plain.train(), twin.train()
    for index, (ours, theirs) in enumerate(zip(twin(images), plain(images), strict=True)):
        assert torch.equal(ours, theirs) == (index < 2)


def test_stages_without_se_stay_as_they_are(images, save):
    cfg = dict(type='ResNet', depth=50, base_channels=16)
    plain = _plain(cfg)
    stages = dict(se_cfg=dict(stages=(False, True, True, False), reduction=(16, 8, 4, 16)))
    twin = _twin(save(plain.state_dict(), graft=True), **cfg, **stages)
    for ours, theirs in zip(twin(images), plain(images), strict=True):
        assert torch.equal(ours, theirs)
    for key, factor in (('layer1.0.bn3.weight', 1), ('layer2.0.bn3.bias', 2)):
        assert torch.equal(twin.state_dict()[key], factor * plain.state_dict()[key])


def _batch():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        sample = DetDataSample()
        size = dict(img_shape=(128, 160), ori_shape=(128, 160), batch_input_shape=(128, 160))
        sample.set_metainfo(dict(size, pad_shape=(128, 160), scale_factor=(1.0, 1.0)))
        boxes = torch.tensor([[10.0, 20.0, 90.0, 100.0], [60.0, 30.0, 150.0, 110.0]])
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1]))
        samples.append(sample)
    return torch.randn(2, 3, 128, 160, generator=generator), samples


def _loss(detector):
    torch.manual_seed(0)  # anchors and boxes are sampled at random
    losses = detector(*_batch(), mode='loss')
    return detector.parse_losses(losses)[0]


@pytest.mark.parametrize('by', ['init_cfg', 'convert_weights'])
def test_a_faster_rcnn(by, faster_rcnn, save, tmp_path):
    plain = _plain(faster_rcnn('ResNet', 16))
    init_cfg = save(dict(state_dict=plain.state_dict(), meta=dict(CLASSES=('a', 'b'))), graft=True)
    if by == 'convert_weights':
        convert_weights(init_cfg['checkpoint'], str(tmp_path / 'twin.pth'), graft=True)
        twin = MODELS.build(faster_rcnn('SEResNet', 16, PLAIN))
        twin.load_state_dict(read_checkpoint(tmp_path / 'twin.pth')['state_dict'], strict=True)
    else:
        twin = MODELS.build(faster_rcnn('SEResNet', 16, PLAIN, init_cfg=init_cfg))
        twin.init_weights()

    plain.eval(), twin.eval().to(memory_format=torch.contiguous_format)  # as the plain one's
    with torch.no_grad():
        (ours, theirs) = (model(*_batch(), mode='predict') for model in (twin, plain))
    for our_sample, their_sample in zip(ours, theirs, strict=True):
        assert len(their_sample.pred_instances) > 0
        for key, value in their_sample.pred_instances.items():
            assert torch.equal(our_sample.pred_instances[key], value)

    plain.train(), twin.train()
    before = _loss(twin)
    assert torch.equal(before, _loss(plain))
    optimizer = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=1e-4)
    before.backward()
    optimizer.step()
    assert _loss(twin) < before
    for name, parameter in twin.backbone.named_parameters():
        if name.endswith('se.fc2.weight'):
            assert bool(parameter.any()) == (not name.startswith('layer1'))  # layer1 is frozen


@pytest.mark.parametrize(
    ('change', 'cfg', 'message'),
    [
        (
            lambda w: {**w, 'layer1.0.se.fc1.weight': torch.zeros(1, 1, 1, 1)},
            {},
            'Remove graft=True',
        ),
        (lambda w: {**w, 'layer1.0.bn3.bias': w['bn1.bias']}, {}, 'layer1.0.bn3.bias'),
        (lambda w: {k: v for k, v in w.items() if 'bn' not in k}, {}, 'has no norm layer1.0.bn3'),
        (lambda w: w, dict(se_cfg=dict(relu_before_se=True)), 'relu_before_se'),
        (lambda w: w, dict(se_cfg=dict(position='pre')), 'with position pre'),
        (lambda w: w, dict(se_cfg=dict(type='GC')), 'with type GC'),
        (
            lambda w: w,
            dict(plugins=[dict(cfg=dict(type='ContextBlock', ratio=1), position='after_conv3')]),
            'with plugins at after_conv3',
        ),
    ],
    ids=['has SE', 'misshapen', 'no norm', 'ReLU', 'position', 'type', 'plugin'],
)
def test_weights_and_backbones_that_cannot_be_grafted(change, cfg, message, load):
    plain = MODELS.build(dict(BACKBONE, type='ResNet'))
    with pytest.raises(UsageError, match=message):
        load(change(plain.state_dict()), graft=True, **cfg)
