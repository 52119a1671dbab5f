"""How the time of backbones grows with the image size and the batch."""

from matplotlib.figure import Figure

from se_det.analysis.benchmark import Cost


def plot(costs: list[Cost], file: str) -> None:
    """Draw the seconds of a step over the megapixels of an image, a panel for each batch size.

    Args:
        costs: measured in settings that differ in batch and size.
        file: where the picture is written; its suffix says in which format.
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
        panel.set(title=f'batch {batch}', xlabel='megapixels of an image', xlim=0, ylim=0)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f'seconds, {costs[0].setting.mode}')
    panels[0].legend(fontsize='small')
    figure.savefig(file, dpi=120)
