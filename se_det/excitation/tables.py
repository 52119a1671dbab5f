"""The numbers behind the figures, as CSV."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path

import numpy as np

from se_det.excitation.gates import Excitation
from se_det.excitation.statistics import BlockStatistics, StageStatistics
from se_det.files import write_whole


def write_gates(excitation: Excitation, path: Path) -> None:
    """Write mean and standard deviation of each channel that the figures show as CSV."""
    held = excitation.common_classes
    names = ['all images', *(excitation.classes[index] for index in held)]
    header = ['block', 'channel', *(f'{what} {name}' for name in names for what in ('mean', 'std'))]
    groups = [slice(None), *(excitation.holds[:, index] for index in held)]

    def rows() -> Iterable[list]:
        for block in excitation.blocks:
            if block.is_shown:
                gates = [block.gates[group] for group in groups]
                columns = np.array([part for one in gates for part in (one.mean(0), one.std(0))])
                for channel, values in enumerate(columns.T):
                    yield [block.name, channel, *(f'{value:.4f}' for value in values)]

    _write_csv(path, header, rows())


def write_statistics(
    statistics: Sequence[BlockStatistics] | Sequence[StageStatistics], path: Path
) -> None:
    """Write the statistics of blocks or of stages as CSV, a row each."""
    header = [field.name for field in fields(statistics[0])]
    rows = (
        [f'{value:.4f}' if isinstance(value, float) else value for value in asdict(one).values()]
        for one in statistics
    )
    _write_csv(path, header, rows)


def _write_csv(path: Path, header: list[str], rows: Iterable[list]) -> None:
    text = StringIO(newline='')
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())
