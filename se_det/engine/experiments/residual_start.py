"""An initializer for experiments on how residual branches start."""

from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn


@WEIGHT_INITIALIZERS.register_module()
class ResidualStart:
    """Set the last norm and the gate of each residual block of a ResNet.

    With the defaults it is what mmdet's ``zero_init_residual=True`` gives: the last norm is zero,
    so that SE squeezes zeros, and its gates are 1/2. It has to be the last in ``init_cfg``, after
    Kaiming and Constant.

    Args:
        last_norm: the weight of each block's last norm.
        gate_bias: the bias of each ``fc2``: 0 makes gates of 1/2, 3 of 0.95.
    """

    def __init__(self, last_norm: float = 0.0, gate_bias: float = 0.0) -> None:
        self.last_norm = last_norm
        self.gate_bias = gate_bias

    def __call__(self, module: nn.Module) -> None:
        """Set norms and biases in ``module``."""
        for block in module.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                norm = block.norm3 if isinstance(block, Bottleneck) else block.norm2
                nn.init.constant_(norm.weight, self.last_norm)
                if hasattr(block, 'se'):
                    nn.init.constant_(block.se.fc2.bias, self.gate_bias)
