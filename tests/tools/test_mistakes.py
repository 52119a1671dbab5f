"""Mistakes at every tool, generated from its own options: one message, nothing overwritten."""

import argparse
import random
import runpy
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools'
NAMES = sorted(path.stem for path in TOOLS.glob('[!_]*.py'))
FILES = {
    'empty': b'',
    'text.txt': b'hello',
    'binary.bin': bytes(range(256)),
    'list.json': b'[]',
    'dict.json': b'{}',
    'null.json': b'null',
    'cut.json': b'[{"image_id": 1',
    'deep.json': b'[' * 100_000,
    'nan.json': b'[NaN]',
    'syntax.py': b'arms = (',
    'raises.py': b'raise RuntimeError("no luck")',
    'nothing.py': b'',
    'no_model.py': b'arms = 3; model = 3; train_dataloader = []',
    'page.pth': b'<html>',
    'cut.pth': b'PK\x03\x04',
    'pickle.pkl': b'\x80\x04N.',
    'cut.pkl': b'\x80\x04',
}
VALUES = ['', '-1', '0', '1e400', 'nan', '10' * 300, 'x', '../x', ' ', 'a=1', 'ü']


class Parsed(Exception):
    """Carries the parser of a tool."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr('logging.raiseExceptions', False)  # of streams of the run before
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    torch.save(dict(epoch=1), tmp_path / 'no_weights.pth')
    torch.save({'x.weight': torch.zeros(1)}, tmp_path / 'other.pth')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'loop').symlink_to('loop')
    return tmp_path


def options_of(tool):
    """The actions of the tool's own parser."""

    def keep(parser, *_):
        raise Parsed(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', keep)
        patch.setattr(sys, 'argv', [tool])
        with pytest.raises(Parsed) as parsed:
            runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
    return [action for action in parsed.value.args[0]._actions if action.dest != 'help']


def mistake(actions, values, rng):
    """A command line whose every value is a wrong one, drawn by chance."""
    arguments = []
    for action in actions:
        if action.option_strings and not action.required and rng.random() < 0.6:
            continue
        arguments += action.option_strings[-1:]
        if action.nargs != 0:
            count = rng.choice([1, 2]) if action.nargs in ('+', '*') else 1
            arguments += [rng.choice([*values, *(action.choices or ())]) for _ in range(count)]
    if rng.random() < 0.1:
        arguments.pop(rng.randrange(len(arguments)))
    return list(map(str, arguments))


def contents(folder):
    return {
        path: path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and path.name in {*FILES, 'no_weights.pth', 'other.pth'}
    }


@pytest.mark.parametrize(
    'count', [5, pytest.param(200, marks=pytest.mark.long)], ids=['few', 'many']
)
@pytest.mark.parametrize('tool', NAMES)
def test_mistakes(tool, count, folder, run_here):
    actions = options_of(tool)
    rng = random.Random(f'{tool} {count}')
    values = [*VALUES, *FILES, 'no_weights.pth', 'other.pth', 'folder', 'loop', 'gone']
    configs = [
        'configs/faster_rcnn_se_r50.py',
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    ]
    before = contents(folder)
    for _ in range(count):
        arguments = mistake(actions, [*values, *configs * (tool != 'train')], rng)
        try:
            done = run_here(f'{tool}.py', *arguments)
        except Exception as found:
            raise AssertionError(f'{tool} {arguments}') from found
        status, error = done.returncode, done.stderr
        assert 'Traceback' not in error, (arguments, error)
        assert contents(folder) == before, arguments
        if status not in (0, 1):
            assert status == 2 and error.count('error: ') == 1, (arguments, error)
