"""How SE, its gates and residual branches start, for experiments."""

from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import Runner
from torch import nn


@HOOKS.register_module()
class FreshSEHook(Hook):
    """Let ``load_from`` of a plain detector leave SE its usual initialisation.

    Users who insert SE blocks into a trained detector do this: fresh gates are 1/2, so that each
    residual branch is halved. Without this hook `se_det` refuses the checkpoint. All other weights
    have to fit.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the detector's own SE to the checkpoint, which has none."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weights = checkpoint.get('state_dict', checkpoint)
        fresh = {
            key: value
            for key, value in model.state_dict().items()
            if '.se.fc' in key and key not in weights
        }
        weights.update(fresh)
        MMLogger.get_current_instance().info(
            f'SE keeps its usual initialisation: {len(fresh)} keys'
        )


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
