"""The bar of a real run of mmengine's, on a terminal of our making."""

import io
import re

import pytest
from rich.console import Console

from .resume.conftest import toy_runner  # noqa: F401  (a fixture)

LOGGED = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=None)


@pytest.fixture
def run(request, tmp_path, monkeypatch):
    """Train for three epochs of eight batches, with a validation after each, or test."""
    make_runner = request.getfixturevalue('toy_runner')

    def start(method, terminal):
        shown = io.StringIO()
        console = Console(file=shown, force_terminal=terminal, width=100, legacy_windows=False)
        monkeypatch.setattr('sys.stdout', shown)
        monkeypatch.setattr('se_det.engine.progress.Console', lambda file: console)
        getattr(make_runner(default_hooks=LOGGED), method)()
        (log,) = tmp_path.glob('run/*/*.log')
        return shown.getvalue(), log.read_text()

    return start


def test_train_on_a_terminal(run):
    shown, log = run('train', terminal=True)
    bars = [re.sub(r'\x1b\[[\d;?]*\w', '', line) for line in re.split(r'[\r\n]', shown)]
    last = [line for line in bars if line.startswith('train')][-1]
    state = r'epoch 3/3 iteration 24/24 loss [\d.]+ [\d.]+ images/s 0:00:00 left'
    assert re.search(state, last), last
    assert not [line for line in bars if 'Epoch(train)' in line]  # the bar stands for them
    assert len(re.findall(r'Epoch\(train\) .* eta: ', log)) == 24
    summaries = [line for line in bars if 'score: ' in line]
    assert len(summaries) == 3  # of all validations, above the bar
    assert '\x1b[?25l' in shown and shown.rstrip().endswith('\x1b[?25h')  # the cursor is back


def test_test_on_a_terminal(run):
    shown, _ = run('test', terminal=True)
    assert re.search(r'iteration 2/2 [\d.]+ images/s 0:00:00 left', shown)


def test_lines_elsewhere(run):
    shown, log = run('train', terminal=False)
    assert '\x1b[?25l' not in shown and 'images/s' not in shown
    for text in (shown, log):
        assert len(re.findall(r'Epoch\(train\) .* eta: ', text)) == 24
