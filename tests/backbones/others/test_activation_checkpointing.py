"""Blocks that are computed again in backward know the sizes of the images."""

import copy

import pytest
import torch
from mmengine.runner import turn_on_activation_checkpointing

from se_det.errors import UsageError
from se_det.layers import padding_of

from .conftest import make


@pytest.mark.parametrize(
    ('name', 'way'),
    [
        *((name, 'mmengine') for name in ('CSPDarknet', 'MobileNetV2', 'RegNet', 'Res2Net')),
        *((name, 'with_cp') for name in ('DetectoRS_ResNet', 'HRNet', 'MobileNetV2', 'RegNet')),
        *((name, 'with_cp') for name in ('DetectoRS_ResNeXt', 'Res2Net')),
    ],
)
def test_activation_checkpointing_has_the_same_gradients(name, way, images):
    _, ours = make(name)
    checkpointed = copy.deepcopy(ours)
    if way == 'mmengine':
        turn_on_activation_checkpointing(checkpointed, list(ours.se_stages))
        images.requires_grad_()  # its checkpoints have no gradients without those of the input
    for module in checkpointed.modules():
        if hasattr(module, 'with_cp'):
            module.with_cp = way == 'with_cp'
    for backbone in (ours, checkpointed):  # two forwards before the backward, of other sizes
        outputs = [*backbone(images), *backbone(images.flip(0)[..., :64])]
        sum(output.square().mean() for output in outputs).backward()
    for expected, found in zip(ours.parameters(), checkpointed.parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad)


def test_activation_checkpointing_needs_a_backward_from_the_outputs(images):
    _, ours = make('RegNet', out_indices=(3,))
    inner = []
    ours.layer3[0].register_forward_hook(lambda _, inputs, output: inner.append(output))
    turn_on_activation_checkpointing(ours, ['layer2'])
    for _ in range(2):  # what a backward knew is forgotten
        sum(output.square().mean() for output in ours(images)).backward()
        ours(images)
        with pytest.raises(UsageError, match='Activation checkpointing'):
            inner[-1].mean().backward()


def test_a_backward_that_failed_is_forgotten(images):
    _, ours = make('RegNet')
    paddings = []
    ours.layer1[0].register_forward_pre_hook(lambda _, inputs: paddings.append(padding_of(*inputs)))
    ours.conv1.weight.register_hook(lambda gradient: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ours(images)[3].mean().backward()
    ours.layer1(torch.zeros(2, 32, 32, 48, dtype=torch.float64))
    assert paddings[0].sizes.tolist() == [[32, 48], [25, 38]] and paddings[1] is None
