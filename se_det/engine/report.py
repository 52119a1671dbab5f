"""A picture of how a training went, and of what the detector now sees."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
from matplotlib.figure import Figure
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

VALIDATED_AT = 'report/validated_at'


@HOOKS.register_module()
class ReportHook(Hook):
    """Write ``report/`` into the work directory, anew after each validation.

    ``curves.png`` shows the loss of each iteration and the mAP of each validation, those before a
    resume included; ``<image>.png`` shows a validation image with its ground truth on the left and
    the detections on the right.

    Args:
        num_images: how many validation images to draw.
        score_threshold: detections below this score are left out of the pictures.
    """

    def __init__(self, num_images: int = 4, score_threshold: float = 0.5) -> None:
        self.num_images = num_images
        self.score_threshold = score_threshold

    @master_only
    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[DetDataSample] | None = None,
    ) -> None:
        """Draw those of the first ``num_images`` validation images that are in this batch."""
        first_index = batch_idx * runner.val_dataloader.batch_size
        for sample in outputs[: max(0, self.num_images - first_index)]:
            image = mmcv.imread(sample.img_path, channel_order='rgb')
            runner.visualizer.add_datasample(
                'report',
                image,
                data_sample=sample,
                pred_score_thr=self.score_threshold,
                out_file=str(_folder(runner) / f'{Path(sample.img_path).stem}.png'),
            )

    @master_only
    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Draw the curves so far; the message hub holds them, and checkpoints hold the hub."""
        history = runner.message_hub
        history.update_scalar(VALIDATED_AT, runner.iter)
        scalars = {name: buffer.data[0] for name, buffer in history.log_scalars.items()}
        figure = Figure(figsize=(9, 3.5), layout='constrained')
        loss_axes, map_axes = figure.subplots(1, 2)
        loss_axes.plot(range(1, len(scalars['train/loss']) + 1), scalars['train/loss'], lw=0.8)
        loss_axes.set(xlabel='iteration', title='training loss', ylim=(0, None))
        for name in [name for name in metrics if name.endswith('_mAP')]:
            values = scalars[f'val/{name}']
            map_axes.plot(scalars[VALIDATED_AT][-len(values) :], values, marker='o', label=name)
        map_axes.set(xlabel='iteration', title='validation', ylim=(0, 1))
        map_axes.legend()
        _folder(runner).mkdir(parents=True, exist_ok=True)
        figure.savefig(_folder(runner) / 'curves.png', dpi=120)


def _folder(runner: Runner) -> Path:
    return Path(runner.work_dir) / 'report'
