"""Arms by seeds: the AP of what is finished, how far the rest is, and the time left."""

import sys
from statistics import mean

from rich.console import Console
from rich.live import Live
from rich.table import Table

from se_det.engine.experiments.experiment import Experiment
from se_det.engine.experiments.run import Run, State


class Display:
    """A table that changes in place on a terminal; elsewhere a line when a run starts or ends."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stdout)
        self.live = Live(console=self.console, auto_refresh=False)
        self.states: dict[Run, State] = {}

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def __call__(self, experiment: Experiment, jobs: int) -> None:
        """Show the state of the runs."""
        if self.console.is_terminal:
            self.live.update(table(experiment, jobs), refresh=True)
            return
        for run in experiment.runs.values():
            state = run.state
            if state is not self.states.get(run, State.WAITING):
                ap = f': AP {ap_of(run):.1f}' if state is State.FINISHED else ''
                left = as_time(seconds_left(experiment, jobs))
                print(f'{run}: {state.value}{ap}; time left: {left}', flush=True)
            self.states[run] = state


def table(experiment: Experiment, jobs: int) -> Table:
    """A row for each arm, a column for each seed, as they are now."""
    plan = experiment.plan
    left = as_time(seconds_left(experiment, jobs))
    result = Table(title=f'{plan.name}: AP, time left {left}')
    result.add_column('arm')
    for seed in plan.seeds:
        result.add_column(f'seed {seed}', justify='right')
    result.add_column('mean', justify='right')
    arms = dict.fromkeys(arm for arm, _ in experiment.runs)
    for arm in arms:
        runs = [experiment.runs.get((arm, seed)) for seed in plan.seeds]
        done = [ap_of(run) for run in runs if run and run.state is State.FINISHED]
        average = f'{mean(done):.2f}' if done else ''
        result.add_row(arm, *(_cell(run) for run in runs), average)
    return result


def ap_of(run: Run) -> float:
    """COCO's AP of a finished run, in percent."""
    metrics = run.result['metrics']
    return 100 * next(value for name, value in metrics.items() if name.endswith('bbox_mAP'))


def seconds_left(experiment: Experiment, jobs: int) -> float | None:
    """How long the runs that are not finished take; None as long as nothing tells."""
    runs = experiment.runs.values()
    every = [run.result['seconds'] for run in runs if run.state is State.FINISHED]
    left = 0.0
    for run in runs:
        if run.state is State.RUNNING and (progress := run.progress()):
            left += progress.seconds_left
            every = every or [progress.seconds_left]
        elif run.state in (State.RUNNING, State.WAITING):
            of_arm = [
                other.result['seconds']
                for other in runs
                if other.arm == run.arm and other.state is State.FINISHED
            ]
            if not every:
                return None
            left += mean(of_arm or every)
    return left / jobs


def as_time(seconds: float | None) -> str:
    """Hours and minutes, or what is known."""
    if seconds is None:
        return 'not known yet'
    hours, minutes = divmod(round(seconds / 60), 60)
    return f'{hours} h {minutes:02} min' if hours else f'{minutes} min'


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
