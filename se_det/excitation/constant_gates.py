"""Evaluates a detector with constant gates, stage by stage, to see what SE gains there."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import Tensor, nn

from se_det.excitation.gates import Excitation, se_blocks


def map_with_constant_gates(
    cfg: Config, model: nn.Module, excitation: Excitation
) -> dict[int | None, float]:
    """Evaluate with each stage's gates at their means over images, on all validation images.

    A gate that does not depend on the image is a constant scale, which the last norm of the block
    can take, so that the stage needs no SE. The weights are not trained further.

    Args:
        cfg: its ``val_dataloader`` and ``val_evaluator`` are read.
        model: of `se_det.excitation.gates.load_detector`.
        excitation: the gates to take the means of.

    Returns:
        The metric, mAP for COCO, by the stage whose gates are constant; None: of the model itself.
    """
    stages = sorted({block.stage for block in excitation.blocks})
    measured = {}
    for stage in (None, *stages):
        means = {b.name: b.gates.mean(0) for b in excitation.blocks if b.stage == stage}
        with _constant(model, means):
            measured[stage] = _evaluate(cfg, model)
    return measured


@contextmanager
def _constant(model: nn.Module, means: dict[str, np.ndarray]) -> Iterator[None]:
    with ExitStack() as hooks:
        for name, *_, se in se_blocks(model.backbone):
            if name in means:
                scale = partial(_scale, torch.from_numpy(means[name]))
                hooks.enter_context(se.register_forward_hook(scale))
        yield


def _scale(mean: Tensor, se: nn.Module, inputs: tuple, _: Tensor) -> Tensor:
    return inputs[0] * mean.to(inputs[0])[:, None, None]


def _evaluate(cfg: Config, model: nn.Module) -> float:
    loader = Runner.build_dataloader(dict(cfg.val_dataloader), seed=0)
    evaluator = Evaluator(cfg.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            evaluator.process(data_samples=model.val_step(batch), data_batch=batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    return next(float(value) for name, value in metrics.items() if name.endswith('mAP'))
