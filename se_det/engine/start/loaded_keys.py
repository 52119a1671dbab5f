"""What a checkpoint has in common with the detector that loads it."""

from collections import Counter
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from se_det.backbones.whole_state_dict import named
from se_det.checkpoints.fit import refuse_se_in_plain_backbones
from se_det.checkpoints.state_dicts import find_weights
from se_det.errors import UsageError


class CheckpointFitHook(Hook):
    """Refuse a checkpoint of another detector; log what was loaded and what was not.

    mmengine loads what fits and trains or tests the rest as it was initialised.

    Args:
        whole: refuse a checkpoint that lacks any key of the detector, as a test and a resumed
            training do. Otherwise it must have some of the backbone's and some of the others.
    """

    priority = 'LOWEST'  # after hooks that change the checkpoint

    def __init__(self, whole: bool) -> None:
        self.whole = whole

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Check the keys while the model loads them, which may give them new names."""
        detector = runner.model
        while is_model_wrapper(detector) or isinstance(detector, BaseTTAModel):
            detector = detector.module
        refuse_se_in_plain_backbones(detector)
        weights = find_weights(checkpoint, 'the checkpoint')
        shapes = {key: value.shape for key, value in weights.items()}

        def check(detector: nn.Module, keys: NamedTuple) -> None:
            handle.remove()
            self._check(detector, shapes, set(keys.missing_keys), list(keys.unexpected_keys))

        handle = detector.register_load_state_dict_post_hook(check)

    def _check(
        self, detector: nn.Module, shapes: dict, missing: set[str], unexpected: list[str]
    ) -> None:
        expected = {
            key: value.shape
            for key, value in detector.state_dict().items()
            if not key.endswith('num_batches_tracked')
        }
        misshapen = {key for key in expected if shapes.get(key, expected[key]) != expected[key]}
        new = sorted((missing | misshapen) & set(expected))
        total = Counter(key.partition('.')[0] for key in expected)
        loaded = total - Counter(key.partition('.')[0] for key in new)
        parts = ', '.join(f'{part} {loaded[part]}/{total[part]}' for part in total)
        summary = f'Keys loaded: {parts}'
        if new:
            summary += f'; newly initialised: {named(new)}'
        if unexpected:
            summary += f'; not used: {named(unexpected)}'
        has_backbone = loaded['backbone'] or not total['backbone']
        if new and (self.whole or not (has_backbone and loaded.total() > loaded['backbone'])):
            raise UsageError(
                f'The checkpoint is not one of this {type(detector).__name__}. {summary}. Use the '
                'config that it was trained with; its work directory has it. Weights of a backbone '
                'alone go into init_cfg of the backbone.'
            )
        MMLogger.get_current_instance().info(summary)
