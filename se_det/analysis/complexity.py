"""Count the parameters and multiply-adds of a config's model."""

from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from se_det.config_files import model_of


class Complexity(NamedTuple):
    """Cost of a detector.

    Attributes:
        parameters: of the whole detector.
        backbone_parameters: of its backbone.
        backbone_multiply_adds: of its backbone for one image of 224 x 224 pixels. The paper's
            table 2 calls them FLOPs.
    """

    parameters: int
    backbone_parameters: int
    backbone_multiply_adds: int


def complexity(cfg: Config) -> Complexity:
    """Count, on the meta device: no memory is used and nothing is computed.

    Raises:
        UsageError: the config has no model.
    """
    with torch.device('meta'):
        detector = MODELS.build(model_of(cfg, cfg.filename))
        image = torch.empty(1, 3, 224, 224)
    detector.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.backbone(image)
    return Complexity(
        sum(parameter.numel() for parameter in detector.parameters()),
        sum(parameter.numel() for parameter in detector.backbone.parameters()),
        counter.get_total_flops() // 2,
    )
