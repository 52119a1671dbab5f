"""Time and memory of SE backbones beside their peers, all in one process."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.models.layers import SELayer
from mmdet.registry import MODELS
from torch import Tensor, nn

from se_det.errors import UsageError
from se_det.layers import folded_convolution

PLAIN = 'mmdet ResNet'
FROZEN = dict(frozen_stages=1, norm_eval=True)  # as in mmdet's configs


@dataclass
class Cost:
    """What one contender costs.

    Attributes:
        name: the contender.
        seconds: median time of a step.
        ratio: median, over the rounds, of its time to mmdet's plain ResNet's in the same round.
        saved_bytes: what a forward pass keeps for the backward pass, parameters not counted.
    """

    name: str
    seconds: float
    ratio: float
    saved_bytes: int


def contenders(depth: int) -> dict[str, Callable[[], nn.Module]]:
    """Ways to have a ResNet and its SE twin, each from its library.

    Args:
        depth: 50, 101 or 152.

    Returns:
        Names and what builds them; timm and mmpretrain are left out where they are not installed.
    """
    cfg = dict(depth=depth, **FROZEN)
    found = {
        PLAIN: lambda: MODELS.build(dict(type='ResNet', **cfg)),
        'mmdet ResNet, batch norm folded (the floor)': lambda: _folded(
            MODELS.build(dict(type='ResNet', **cfg))
        ),
        'se_det SEResNet': lambda: MODELS.build(dict(type='SEResNet', **cfg)),
        'se_det SEResNet, fused=False': lambda: MODELS.build(
            dict(type='SEResNet', se_cfg=dict(fused=False), **cfg)
        ),
        "mmdet ResNet + mmdet's SELayer": lambda: _with_se_layers(
            MODELS.build(dict(type='ResNet', **cfg))
        ),
    }
    try:
        from mmpretrain.models import SEResNet
    except ImportError:
        pass
    else:
        found['mmpretrain SEResNet'] = lambda: SEResNet(out_indices=(0, 1, 2, 3), **cfg)
    try:
        import timm
    except ImportError:
        pass
    else:
        found['timm seresnet'] = lambda: _TimmBackbone(
            timm.create_model(f'seresnet{depth}', features_only=True, out_indices=(1, 2, 3, 4))
        )
    return found


def benchmark(
    depth: int,
    mode: str,
    batch: int,
    size: tuple[int, int],
    rounds: int,
    device: str,
    only: Sequence[str] = (),
) -> list[Cost]:
    """Time all contenders, in a new order each round.

    Args:
        depth: of the backbones.
        mode: ``'train'``, a forward and backward pass, or ``'inference'``.
        batch: images.
        size: height and width of an image.
        rounds: how often each contender is timed, after one round to warm up.
        device: ``'cpu'`` or ``'cuda'``.
        only: parts of the names of the contenders to time beside mmdet's ResNet; default all.

    Returns:
        The costs, mmdet's plain ResNet first.

    Raises:
        UsageError: no contender has such a name, there is no such device, or a number is below 1.
    """
    if min(batch, rounds, *size) < 1:
        raise UsageError('batch, size and rounds must be 1 or more.')
    if device == 'cuda' and not torch.cuda.is_available():
        raise UsageError('No GPU was found. Use --device cpu.')
    builders = {
        name: build
        for name, build in contenders(depth).items()
        if name == PLAIN or not only or any(part in name for part in only)
    }
    if only and len(builders) == 1:
        raise UsageError(f'No contender {only}. Known: {", ".join(contenders(depth))}.')
    torch.manual_seed(0)
    images = torch.randn(batch, 3, *size, device=device)
    models = {name: _prepared(build(), device) for name, build in builders.items()}
    step = {'train': _train_step, 'inference': _inference_step}[mode]
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_number in range(rounds + 1):
        for name in random.sample(list(models), len(models)):
            elapsed = _time(step, models[name], images)
            if round_number:
                seconds[name].append(elapsed)
    baseline = seconds[PLAIN]
    return [
        Cost(
            name=name,
            seconds=statistics.median(found),
            ratio=statistics.median(a / b for a, b in zip(found, baseline, strict=True)),
            saved_bytes=saved_bytes(models[name], images) if mode == 'train' else 0,
        )
        for name, found in seconds.items()
    ]


def saved_bytes(model: nn.Module, images: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, parameters and images not counted."""
    own = {
        tensor.untyped_storage().data_ptr()
        for tensor in [*model.parameters(), *model.buffers(), images]
    }
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = model(images)
    del outputs
    return sum(kept.values())


def as_table(costs: list[Cost]) -> str:
    """A Markdown table of costs."""
    saved = costs[0].saved_bytes
    lines = [
        '| backbone | s | to plain | kept for backward, MB | to plain |',
        '|---|---|---|---|---|',
    ]
    for cost in costs:
        memory = f'{cost.saved_bytes / 1e6:.0f} | {cost.saved_bytes / saved:.3f}' if saved else '|'
        lines.append(f'| {cost.name} | {cost.seconds:.3f} | {cost.ratio:.3f} | {memory} |')
    return '\n'.join(lines)


def _time(step: Callable[[nn.Module, Tensor], None], model: nn.Module, images: Tensor) -> float:
    if images.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(model, images)
    if images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _train_step(model: nn.Module, images: Tensor) -> None:
    sum(output.square().mean() for output in model(images)).backward()
    model.zero_grad(set_to_none=True)


@torch.no_grad()
def _inference_step(model: nn.Module, images: Tensor) -> None:
    model(images)


def _prepared(model: nn.Module, device: str) -> nn.Module:
    """On the device, in training mode, and with batch norms that leave no branch at zero."""
    model.to(device).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
    return model


def _with_se_layers(resnet: nn.Module) -> nn.Module:
    for block in resnet.modules():
        if isinstance(block, Bottleneck):
            block.with_plugins = True
            block.after_conv1_plugin_names = block.after_conv2_plugin_names = []
            block.after_conv3_plugin_names = ['se']
            block.se = SELayer(block.conv3.out_channels)
    resnet._freeze_stages()
    return resnet


def _folded(resnet: nn.Module) -> nn.Module:
    for block in resnet.modules():
        if isinstance(block, Bottleneck):
            block.__class__ = _FoldedBottleneck
    return resnet


class _FoldedBottleneck(Bottleneck):
    def forward(self, x: Tensor) -> Tensor:
        identity = x
        if self.downsample is not None:
            identity = folded_convolution(x, *self.downsample, relu=False)
        out = folded_convolution(x, self.conv1, self.norm1, relu=True)
        out = folded_convolution(out, self.conv2, self.norm2, relu=True)
        out = folded_convolution(out, self.conv3, self.norm3, relu=False)
        out += identity
        return self.relu(out)


class _TimmBackbone(nn.Module):
    """timm's, with its first stage and its batch norms frozen as mmdet freezes them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        for part in (model.conv1, model.bn1, model.layer1):
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> '_TimmBackbone':
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model(images)
