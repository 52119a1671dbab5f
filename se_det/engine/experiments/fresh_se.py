"""Loads plain weights into an SE detector with fresh SE, for comparisons with grafting."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner


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
