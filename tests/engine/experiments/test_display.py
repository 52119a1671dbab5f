import io

from rich.console import Console

from se_det.engine.experiments.display import Display, seconds_left


def _shown(experiment, terminal, jobs=1):
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=terminal, legacy_windows=False)
    return Display(experiment, jobs, console), file


def test_lines_where_there_is_no_terminal(make_experiment, make_launcher):
    experiment = make_experiment()
    display, file = _shown(experiment, terminal=False)
    with display:
        experiment.train(make_launcher(), display.update)
    text = file.getvalue()
    assert '\x1b' not in text
    lines = [line.partition(' ')[2].partition(' ')[2] for line in text.splitlines()[:8]]
    aps = {key: run.result['metrics']['coco/bbox_mAP'] for key, run in experiment.runs.items()}
    for (arm, seed), ap in aps.items():
        name = f'{arm}, seed {seed}'
        assert any(line.startswith(f'{name}: running; time left: ') for line in lines)
        assert any(line.startswith(f'{name}: finished, AP {100 * ap:.1f}; ') for line in lines)
        assert f'{100 * ap:.1f}' in text.partition('AP of mine')[2]


def test_a_table_on_a_terminal(make_experiment, make_launcher):
    experiment = make_experiment()
    display, file = _shown(experiment, terminal=True)
    with display:
        experiment.train(make_launcher(seconds=0.5), display.update)
    text = file.getvalue()
    for part in (
        'AP of mine; interim, 0 of 2 seeds; ',
        'interim, 1 of 2',
        'seed 0',
        'seed 1',
        'waiting',
        'epoch 1, ',
        'time left: 0 h 00 min',
    ):
        assert part in text
    assert '\x1b[?25l' in text and text.rstrip().endswith('\x1b[?25h')  # the cursor comes back


def test_time_left_is_of_runs_of_the_same_arm(make_experiment):
    experiment = make_experiment()
    assert seconds_left(experiment, 1) is None
    plain, se = experiment.runs['plain', 0], experiment.runs['se', 0]
    for run, seconds in ((plain, 60), (se, 90)):
        run.folder.mkdir(parents=True)
        (run.folder / 'result.json').write_text(
            f'{{"seconds": {seconds}, "metrics": {{"coco/bbox_mAP": 0.5}}}}'
        )
        if run is plain:
            assert seconds_left(experiment, 1) == 60 * 3
    assert seconds_left(experiment, 2) == (60 + 90) / 2


def test_progress_is_read_from_mmengines_log(make_experiment):
    run = make_experiment().runs['se', 0]
    run.folder.mkdir(parents=True)
    assert run.progress() is None
    start = '11/25 17:26:24 - mmengine - INFO - '
    for line, text, seconds in [
        ('Checkpoints will be saved', None, None),
        ('Epoch(train) [1][30/75]  lr: 9.8e-04  eta: 0:10:56  time: 1.9', 'epoch 1, 30/75', 656),
        ('Epoch(val) [1][30/75]    eta: 0:00:09  time: 1.9', 'epoch 1, 30/75', 656),
        (
            'Epoch(train)  [2][  50/7330]  base_lr: 1.9e-02 lr: 1.9e-02  eta: 1 day, 2:00:03  t',
            'epoch 2, 50/7330',
            26 * 3600 + 3,
        ),
        ('Iter(train) [  100/90000]  lr: 1.0e-02  eta: 10:00:00  time: 1', '100/90000', 36000),
    ]:
        with (run.folder / 'output.txt').open('a') as output:
            output.write(f'{start}{line}\n')
        found = run.progress()
        assert (found and found.text, found and found.seconds_left) == (text, seconds)
