"""A loss that is not a number ends the training before its weights replace good ones."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from se_det.backbones.whole_state_dict import named
from se_det.errors import UsageError

ADVICE = (
    'Earlier checkpoints are kept. Check the data with python -m se_det check_dataset CONFIG, or '
    'lower the learning rate: --cfg-options optim_wrapper.optimizer.lr=... Then type the same '
    'command with --resume.'
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop when the loss of consecutive iterations is NaN or infinite.

    Args:
        iterations: after how many.
    """

    priority = 'VERY_HIGH'

    def __init__(self, iterations: int = 3) -> None:
        self.iterations = iterations
        self.count = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Count iterations whose losses are not finite.

        Raises:
            UsageError: there were too many; the message names the images of the last.
        """
        wrong = [
            name
            for name, value in (outputs or {}).items()
            if 'loss' in name and not torch.as_tensor(value).isfinite().all()
        ]
        self.count = self.count + 1 if wrong else 0
        if self.count >= self.iterations:
            samples = (data_batch or {}).get('data_samples', [])
            images = [str(sample.get('img_path', '')) for sample in samples]
            raise UsageError(
                f'{", ".join(wrong)} not finite in {self.count} iterations, the last of them '
                f'{runner.iter + 1}, with the images {", ".join(images) or "unknown"}. '
                f'{ADVICE}'
            )


def check_finite(model: nn.Module) -> None:
    """Check that weights are numbers, before they are saved.

    Args:
        model: the model.

    Raises:
        UsageError: a parameter is NaN or infinite.
    """
    wrong = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if wrong:
        raise UsageError(f'{named(wrong)} not finite, and therefore not saved. {ADVICE}')
