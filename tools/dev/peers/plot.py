"""Plot the time of backbones over the size of an image."""

from pathlib import Path

from matplotlib.figure import Figure

from se_det.errors import UsageError

from .timing import Cost


def check_picture(file: str) -> None:
    """Check the format of a picture.

    Raises:
        UsageError: matplotlib has no format for its suffix.
    """
    formats = Figure().canvas.get_supported_filetypes()
    if Path(file).suffix[1:] not in formats:
        raise UsageError(f'--plot must end in one of {", ".join(formats)}; got {file}.')


def draw(costs: list[Cost]) -> Figure:
    """Plot the seconds of a step over the megapixels of an image, one panel per batch size.

    Args:
        costs: measured in settings that differ in batch and size.
    """
    batches = sorted({cost.setting.batch for cost in costs})
    figure = Figure(figsize=(1 + 4 * len(batches), 3.5), layout='constrained')
    panels = figure.subplots(1, len(batches), squeeze=False, sharey=True)[0]
    for panel, batch in zip(panels, batches, strict=True):
        for name in dict.fromkeys(cost.name for cost in costs):
            points = sorted(
                (cost.setting.size[0] * cost.setting.size[1] / 1e6, cost.seconds)
                for cost in costs
                if (cost.name, cost.setting.batch) == (name, batch)
            )
            panel.plot(*zip(*points, strict=True), marker='o', markersize=3, label=name)
        panel.set(title=f'batch {batch}', xlabel='megapixels of an image', xlim=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel(f'seconds, {costs[0].setting.mode}')
    panels[0].legend(fontsize='small')
    return figure
