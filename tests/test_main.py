"""``se_det`` and ``python -m se_det``; what tools import before their arguments are parsed."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
TOOLS = sorted((CHECKOUT / 'tools').glob('[!_]*.py'))
SCRIPT = 'tools/se_det'
HEAVY = {'torch', 'mmengine', 'mmdet', 'numpy'}


def run(*arguments):
    """Run Python in the checkout; its errors list the modules that were imported."""
    return subprocess.run(
        [sys.executable, '-X', 'importtime', *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )


def imported(process):
    """The names of the packages that a process of `run` imported."""
    names = [line.split('|')[-1].strip() for line in process.stderr.splitlines() if '|' in line]
    return {name.partition('.')[0] for name in names}


def test_the_tools_are_listed(monkeypatch, capsys):
    listed = run(SCRIPT)
    assert listed.returncode == 0
    for tool in TOOLS:
        assert f'\n  {tool.stem} ' in listed.stdout
    assert '_command_line' not in listed.stdout
    monkeypatch.setattr('sys.argv', ['se_det'])
    runpy.run_module('se_det', run_name='__main__')  # as python -m
    assert capsys.readouterr().out == listed.stdout


def test_a_name_that_no_tool_has():
    failed = run(SCRIPT, 'trian')
    assert failed.returncode == 2
    assert 'No tool trian. Did you mean train?' in failed.stderr
    assert 'Traceback' not in failed.stderr
    assert not imported(failed) & HEAVY


HELP = """
import runpy, sys
for *program, usage in {programs}:
    sys.argv = [*program, '--help']
    sys.path[0] = 'tools'
    try:
        runpy.run_path(program[0], run_name='__main__')
    except SystemExit as end:
        assert not end.code, program
"""


def test_help_does_not_wait_for_torch():
    """In one process, which is quicker than a process for each tool."""
    programs = [(str(tool), tool.name) for tool in TOOLS]
    programs += [(SCRIPT, tool.stem, f'se_det {tool.stem}') for tool in TOOLS]
    helped = run('-c', HELP.format(programs=programs))
    assert helped.returncode == 0, helped.stderr
    for *_, usage in programs:
        assert f'usage: {usage} [-h]' in helped.stdout
    assert not imported(helped) & HEAVY


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['train'], 'arguments are required: config'),
        (['train', 'faster_rcnn_r50.py', '--cfg-options', 'a=1', '--nope'], 'unrecognized'),
        (['convert_weights', 'a.pth', '--layout', 'timn'], 'timm'),
    ],
)
def test_usage_errors_do_not_wait_for_torch(arguments, message):
    failed = run(SCRIPT, *arguments)
    assert failed.returncode == 2
    assert not imported(failed) & HEAVY
    *_, last = [line for line in failed.stderr.splitlines() if not line.startswith('import time')]
    assert last.startswith(f'se_det {arguments[0]}: error: ')
    assert re.search(message, last)


@pytest.mark.parametrize(
    ('tool', 'config', 'meant'),
    [
        ('train', 'faster_rcnn_r05.py', 'faster_rcnn_r50.py'),
        ('run_experiment', 'shapes_scratsh.py', 'shapes_scratch.py'),
    ],
)
def test_a_misspelt_config(tool, config, meant, run_python):
    (failed,) = run_python([CHECKOUT / SCRIPT, tool, config])
    assert failed.returncode == 2
    assert re.search(f'\nerror: No config file {config}. Did you mean .*{meant}', failed.stderr)


def test_choices_of_convert_weights_are_the_layouts():
    from se_det.checkpoints.layouts import LAYOUTS

    assert str(tuple(LAYOUTS)) in (CHECKOUT / 'tools/convert_weights.py').read_text()
