"""A table of arms and seeds: AP of finished runs, progress of the others, time left."""

import sys
import time
from statistics import mean

from rich.console import Console
from rich.live import Live
from rich.table import Table

from se_det.engine.experiments.experiment import Experiment
from se_det.engine.experiments.run_folder import AP, Run, State

WIDTH_IN_FILES = 160


class Display:
    """A table that changes in place on a terminal; elsewhere a line when a run starts or ends.

    As a context manager it prints the table at the end.

    Args:
        experiment: what to show.
        jobs: how many runs train at once.
        console: where to print; default standard output.
    """

    def __init__(self, experiment: Experiment, jobs: int, console: Console | None = None) -> None:
        self.experiment = experiment
        self.jobs = jobs
        self.console = console or Console(
            file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_IN_FILES
        )
        self.live = Live(console=self.console, auto_refresh=False)
        self.states = {run: State.WAITING for run in experiment.runs.values()}

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()
        else:
            self.console.print(self.table())

    def update(self) -> None:
        """Show the state of the runs."""
        if self.console.is_terminal:
            self.live.update(self.table(), refresh=True)
            return
        for run, before in self.states.items():
            state = run.state
            if state is not before:
                ap = f', AP {ap_of(run):.1f}' if state is State.FINISHED else ''
                print(
                    f'{time.strftime("%m/%d %H:%M:%S")} {run}: {state.value}{ap}; {self._left()}',
                    file=self.console.file,
                    flush=True,
                )
            self.states[run] = state

    def table(self) -> Table:
        """A row for each arm, a column for each seed, as they are now."""
        plan, runs = self.experiment.plan, self.experiment.runs
        finished = {run for run in runs.values() if run.state is State.FINISHED}
        whole = sum(all(runs[arm, seed] in finished for arm in plan.arms) for seed in plan.seeds)
        title = [f'AP of {plan.name}', plan.interim(whole), self._left()]
        table = Table('arm', title='; '.join(filter(None, title)))
        for seed in plan.seeds:
            table.add_column(f'seed {seed}', justify='right')
        table.add_column('mean', justify='right')
        for arm in dict.fromkeys(arm for arm, _ in runs):
            of_arm = [runs.get((arm, seed)) for seed in plan.seeds]
            aps = [ap_of(run) for run in of_arm if run in finished]
            average = '' if plan.interim(len(aps)) else f'{mean(aps):.2f}'
            table.add_row(arm, *map(_cell, of_arm), average)
        return table

    def _left(self) -> str:
        seconds = seconds_left(self.experiment, self.jobs)
        if seconds is None:
            return 'time left: not known yet'
        hours, minutes = divmod(round(seconds / 60), 60)
        return f'time left: {hours} h {minutes:02} min'


def ap_of(run: Run) -> float:
    """COCO's AP of boxes of a finished run, in percent."""
    return 100 * run.result['metrics'][AP]


def seconds_left(experiment: Experiment, jobs: int) -> float | None:
    """The time that unfinished runs take.

    A run takes as long as those of its arm that are finished or, before there is one, as all. None
    where none is finished and none is far enough to tell.
    """
    runs = {run: run.state for run in experiment.runs.values()}
    seconds = {run: run.result['seconds'] for run, state in runs.items() if state is State.FINISHED}
    left = {}
    for run, state in runs.items():
        if state is State.RUNNING and (progress := run.progress()):
            left[run] = progress.seconds_left
    known = [*seconds.values()] or [*left.values()]
    for run, state in runs.items():
        if run not in left and state in (State.RUNNING, State.WAITING):
            if not known:
                return None
            of_arm = [took for other, took in seconds.items() if other.arm == run.arm]
            left[run] = mean(of_arm or known)
    return sum(left.values()) / jobs


def _cell(run: Run | None) -> str:
    if run is None:
        return ''
    state = run.state
    if state is State.FINISHED:
        return f'[bold]{ap_of(run):.1f}[/]'
    if state is State.RUNNING:
        progress = run.progress()
        return f'[cyan]{progress.text if progress else "starting"}[/]'
    return f'[red]{state.value}[/]' if state is State.FAILED else f'[dim]{state.value}[/]'
