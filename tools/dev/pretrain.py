#!/usr/bin/env python3
"""Pretrain ResNet-18, plain and with SE, on small images: the paper's protocol in miniature.

Both have the same recipe, and all that is random follows from the seed. A folder of images has
``train.npz`` and ``val.npz``: ``jpeg``, all files one after another, their ``offsets``, and
``labels``. The weights of ``plain_7.pth`` and ``se_7.pth`` are what seed 7 of the plans
`neu_det_pretrained` and `bccd_pretrained` starts from; ``plain_7.json`` has their top-1.
"""

import argparse
import time
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import torch
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR
from torchvision.transforms.v2.functional import normalize

import se_det  # noqa: F401  (registers SEResNet)
from se_det.files import write_json
from tools._command_line import usage_errors_alone

ARMS = dict(plain='ResNet', se='SEResNet')
BATCH = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIDE = 64  # images of 32 pixels are enlarged: a ResNet's stem divides by 4


def load(file: Path, device: str, fraction: float = 1.0) -> tuple[Tensor, Tensor]:
    """Decode a fraction of the images, ``(N, 3, H, W)`` of uint8, and their labels ``(N,)``."""
    content = np.load(file)
    jpeg, offsets = content['jpeg'], content['offsets']
    count = len(offsets) - 1
    chosen = np.linspace(0, count - 1, max(1, round(fraction * count))).astype(int)
    files = (jpeg[offsets[index] : offsets[index + 1]] for index in chosen)
    rgb = np.stack([cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1] for file in files])
    images = torch.from_numpy(rgb).permute(0, 3, 1, 2).contiguous()
    labels = torch.from_numpy(content['labels'][chosen]).long()
    return images.to(device), labels.to(device)


def augmented(images: Tensor) -> Tensor:
    """Shift each image of ``(N, 3, H, W)`` by up to an eighth, and flip half of them."""
    side = images.shape[-1]
    padded = F.pad(images.float(), [side // 8] * 4, mode='reflect')
    shifts = torch.randint(side // 4 + 1, (2, len(images), 1), device=images.device)
    lines = torch.arange(side, device=images.device)
    rows, columns = shifts + lines
    flipped = torch.rand(len(images), 1, device=images.device) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


def prepared(images: Tensor) -> Tensor:
    """What the network gets: normalised images ``(N, 3, 64, 64)``."""
    images = F.interpolate(images.float() / 255, (SIDE, SIDE), mode='bilinear')
    return normalize(images, MEAN, STD).contiguous(memory_format=torch.channels_last)


class Classifier(nn.Module):
    """A backbone and one linear layer."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        options = dict(depth=18, out_indices=(3,), norm_eval=False, zero_init_residual=False)
        self.backbone = MODELS.build(dict(type=backbone, **options))
        self.backbone.init_weights()
        self.head = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        """The logits ``(N, classes)`` of images ``(N, 3, H, W)``."""
        (features,) = self.backbone(x)
        return self.head(features.mean((2, 3)))


def train(model: Classifier, images: Tensor, labels: Tensor, epochs: int) -> None:
    """Train with SGD, one cycle of the learning rate, and label smoothing."""
    batch = min(BATCH, len(images))
    steps = len(images) // batch
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
    schedule = OneCycleLR(optimizer, 0.4 * batch / BATCH, total_steps=epochs * steps, pct_start=0.2)
    for _ in range(epochs):
        order = torch.randperm(len(images), device=images.device)
        for chosen in order[: steps * batch].view(steps, batch):
            with autocast(images):
                logits = model(prepared(augmented(images[chosen])))
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


@torch.inference_mode()
def top1(model: Classifier, images: Tensor, labels: Tensor) -> float:
    """The share of images whose class has the highest logit, in percent."""
    model.eval()
    right = 0
    for batch, expected in zip(images.split(1000), labels.split(1000), strict=True):
        with autocast(images):
            right += (model(prepared(batch)).argmax(1) == expected).sum().item()
    return 100 * right / len(labels)


def autocast(images: Tensor) -> torch.autocast:
    """Mixed precision on a GPU."""
    return torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda)


def pretrain(
    data: Path, out: Path, seeds: Iterable[int], epochs: int, fraction: float, device: str
) -> None:
    """Pretrain both arms on each seed; what is finished is left as it is."""
    images, labels = load(data / 'train.npz', device, fraction)
    held_out = load(data / 'val.npz', device)
    classes = int(labels.max()) + 1
    out.mkdir(parents=True, exist_ok=True)
    for seed, (arm, backbone) in product(seeds, ARMS.items()):
        result = out / f'{arm}_{seed}.json'
        if result.exists():
            continue
        torch.manual_seed(seed)
        start = time.perf_counter()
        model = Classifier(backbone, classes).to(device, memory_format=torch.channels_last)
        train(model, images, labels, epochs)
        seconds = round(time.perf_counter() - start)
        found = dict(
            top1=round(top1(model, *held_out), 2),
            images=len(images),
            epochs=epochs,
            seconds=seconds,
        )
        torch.save(model.backbone.state_dict(), result.with_suffix('.pth'))
        write_json(result, found)
        print(f'{arm}, seed {seed}: {found}', flush=True)


def main() -> None:
    """Parse the arguments and pretrain."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('data', type=Path, help='folder with train.npz and val.npz')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/pretrained'))
    parser.add_argument('--seeds', type=int, nargs='+', default=range(8))
    parser.add_argument('--epochs', type=int, default=30)
    parser.add_argument('--fraction', type=float, default=1.0, help='of the training images')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    arguments = parser.parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')  # each weight's initialisation is a line
    pretrain(**vars(arguments))


if __name__ == '__main__':
    with usage_errors_alone():
        main()
