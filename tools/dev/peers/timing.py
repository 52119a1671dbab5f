"""Time and memory of SE backbones beside their peers, all in one process."""

import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from torch import Tensor, nn

from se_det.errors import UsageError

from .contenders import BACKBONES, PLAIN, Contender, contenders

WARM_UP = 2  # rounds
PRECISIONS = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
DETECTOR = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'


@dataclass(frozen=True)
class Setting:
    """What is measured.

    Attributes:
        backbone: a key of `contenders.BACKBONES`.
        mode: ``'train'``, a forward and backward pass, or ``'inference'``.
        detector: measure a whole Faster R-CNN with FPN instead of the backbone alone.
        batch: images.
        size: height and width of an image.
        precision: a key of `PRECISIONS`; those below fp32 by autocast.
        from_scratch: train all stages and batch norms.
        device: ``'cpu'`` or ``'cuda'``.
    """

    backbone: str = 'r50'
    mode: str = 'train'
    detector: bool = False
    batch: int = 1
    size: tuple[int, int] = (512, 832)
    precision: str = 'fp32'
    from_scratch: bool = False
    device: str = 'cpu'

    def __str__(self) -> str:
        height, width = self.size
        what = f'Faster R-CNN {self.backbone}' if self.detector else self.backbone
        scratch = ', from scratch' if self.from_scratch else ''
        return (
            f'{what}, {self.mode}, {self.batch} x {height} x {width}, {self.precision}{scratch}, '
            f'{self.device}'
        )


@dataclass
class Cost:
    """What one contender costs.

    Attributes:
        name: the contender.
        rounds: seconds of a step, in each round.
        saved_bytes: in training, what a forward pass keeps for the backward pass, parameters and
            images not counted.
        peak_bytes: on a GPU, the most that a step had allocated beyond the models and images.
    """

    name: str
    rounds: list[float]
    saved_bytes: int | None = None
    peak_bytes: int | None = None

    @property
    def seconds(self) -> float:
        """Median time of a step."""
        return statistics.median(self.rounds)

    def ratio(self, other: 'Cost') -> float:
        """Median over the rounds of the time to that of another in the same round."""
        return statistics.median(a / b for a, b in zip(self.rounds, other.rounds, strict=True))


def benchmark(setting: Setting, rounds: int, only: Sequence[str] = ()) -> list[Cost]:
    """Time all contenders, in a new order each round.

    Args:
        setting: what to measure.
        rounds: how often each contender is timed, after `WARM_UP` rounds.
        only: parts of the names of the contenders to time beside mmdet's plain one; default all.

    Returns:
        The costs, mmdet's plain backbone first.

    Raises:
        UsageError: no contender has such a name, there is no such device, a number is below 1, or
            the backbone does not go into the detector.
    """
    if min(setting.batch, rounds, *setting.size) < 1:
        raise UsageError('batch, size and rounds must be 1 or more.')
    if setting.device == 'cuda' and not torch.cuda.is_available():
        raise UsageError('No GPU was found. Use --device cpu.')
    if setting.detector and 'depth' not in BACKBONES[setting.backbone]:
        raise UsageError('--detector is for ResNets: r50, r101, r152, x50 or x101.')
    known = contenders(setting.backbone, setting.from_scratch)
    for part in only:
        if not any(part in name for name in known):
            raise UsageError(f'No contender {part}. Known: {", ".join(known)}.')
    chosen = [name for name in known if not only or any(part in name for part in only)]
    images = torch.randn(setting.batch, 3, *setting.size, device=setting.device)
    runs = {name: _Run(known[name], images, setting) for name in dict.fromkeys([PLAIN, *chosen])}
    for round_number in range(WARM_UP + rounds):
        for run in random.sample(list(runs.values()), len(runs)):
            run.step(timed=round_number >= WARM_UP)
    return [
        Cost(name, run.seconds, run.saved_bytes(), run.peak_bytes) for name, run in runs.items()
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
        model(images)
    return sum(kept.values())


def as_table(costs: list[Cost]) -> str:
    """A Markdown table of costs, all of one setting."""
    lines = ['| backbone | s | to plain |', '|---|---|---|']
    lines += [
        f'| {cost.name} | {cost.seconds:.4g} | {cost.ratio(costs[0]):.3f} |' for cost in costs
    ]
    for title, key in (
        ('kept for backward, MB', 'saved_bytes'),
        ('peak memory, MB', 'peak_bytes'),
    ):
        figures = [getattr(cost, key) for cost in costs]
        if figures[0]:
            cells = [
                f' {figure / 1e6:.0f} | {figure / figures[0]:.3f} |' if figure else ' | |'
                for figure in figures
            ]
            cells = [f' {title} | to plain |', '---|---|', *cells]
            lines = [line + cell for line, cell in zip(lines, cells, strict=True)]
    return '\n'.join(lines)


def beside_the_fastest(costs: list[Cost]) -> str:
    """One line each: se_det's contenders beside the fastest plain one and the fastest peer SE."""
    ours = [c for c in costs if c.name in ('se_det', 'se_det, efficient_conv_bn_eval')]
    plain = [c for c in costs if c.name == PLAIN or c.name.startswith(f'{PLAIN}, ')]
    peers = [c for c in costs if c not in plain and not c.name.startswith('se_det')]
    lines = []
    for kind, group in (('plain backbone', plain), ('peer with SE', peers)):
        fastest = min(group, key=lambda cost: cost.ratio(costs[0]), default=None)
        for cost in ours if fastest else []:
            line = f'{cost.name} to the fastest {kind} ({fastest.name}): '
            line += f'{cost.ratio(fastest):.3f} time'
            if cost.saved_bytes:
                line += f', {cost.saved_bytes / fastest.saved_bytes:.3f} kept for backward'
            lines.append(line)
    return '\n'.join(lines)


class _Run:
    """One contender: its model, and its times so far."""

    def __init__(
        self, contender: Contender, images: Tensor, setting: Setting, compiled: bool = False
    ) -> None:
        wrapper = _WithinFasterRCNN if setting.detector else _Alone
        backbone = contender.build()
        torch.manual_seed(0)  # the same neck and heads for all
        model = wrapper(torch.compile(backbone, dynamic=False) if compiled else backbone)
        model.to(setting.device)
        _calibrate(backbone)
        contender.prepare(model, backbone)
        self._model = model.train(setting.mode == 'train')
        self._images = images
        self._train = setting.mode == 'train'
        self._autocast = dict(
            device_type=setting.device,
            dtype=PRECISIONS[setting.precision],
            enabled=setting.precision != 'fp32',
        )
        self.seconds: list[float] = []
        self.peak_bytes: int | None = None

    def step(self, timed: bool) -> None:
        """A training or inference step."""
        on_gpu = self._images.is_cuda
        if on_gpu:
            torch.cuda.synchronize()
            allocated = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        with torch.set_grad_enabled(self._train):
            with torch.autocast(**self._autocast):
                output = self._model(self._images)
            if self._train:
                output.backward()
        if on_gpu:
            torch.cuda.synchronize()
            self.peak_bytes = torch.cuda.max_memory_allocated() - allocated
        if timed:
            self.seconds.append(time.perf_counter() - start)
        self._model.zero_grad(set_to_none=True)

    def saved_bytes(self) -> int | None:
        """As `saved_bytes`, in training."""
        if not self._train:
            return None
        with torch.autocast(**self._autocast):
            return saved_bytes(self._model, self._images)


def _calibrate(backbone: nn.Module) -> None:
    """Give batch norms weights, so that no branch is 0, and the statistics of their inputs.

    Without these, maps may shrink to denormal numbers, which take a CPU several times as long.
    """
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.2, 0.6)
        norm.train()
        norm.momentum = 1.0
    device = next(backbone.parameters()).device
    with torch.no_grad():
        backbone(torch.randn(2, 3, 64, 64, device=device))
    for norm in norms:
        norm.momentum = 0.1


class _Alone(nn.Module):
    """A backbone; in training mode, with a loss behind it."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor | Sequence[Tensor]:
        maps = self.backbone(images)
        return sum(x.square().mean() for x in maps) if self.training else maps


class _WithinFasterRCNN(nn.Module):
    """A backbone within mmdet's Faster R-CNN with FPN; in training mode, its loss."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.detector = MODELS.build(dict(get_config(DETECTOR).model, _scope_='mmdet'))
        self.detector.backbone = backbone

    def forward(self, images: Tensor) -> Tensor | list[DetDataSample]:
        samples = [_sample(images) for _ in images]
        if self.training:
            loss, _ = self.detector.parse_losses(self.detector.loss(images, samples))
            return loss
        return self.detector.predict(images, samples, rescale=False)


def _sample(images: Tensor) -> DetDataSample:
    """Eight objects of a size, spread over an image."""
    height, width = images.shape[2:]
    x, y = torch.meshgrid(torch.arange(4), torch.arange(2), indexing='xy')
    corners = torch.stack([x, y, x + 0.75, y + 0.75], dim=-1).view(-1, 4)
    boxes = corners * torch.tensor([width / 4, height / 2] * 2)
    shapes = dict.fromkeys(('ori_shape', 'img_shape', 'pad_shape'), (height, width))
    sample = DetDataSample(metainfo=dict(shapes, scale_factor=(1.0, 1.0)))
    sample.gt_instances = InstanceData(
        bboxes=boxes.to(images.device), labels=torch.arange(8, device=images.device)
    )
    return sample
