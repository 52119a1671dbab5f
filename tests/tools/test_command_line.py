import argparse
import os

import pytest
from _command_line import parse_run_arguments, usage_errors_alone

from se_det.errors import UsageError


@pytest.fixture
def parse(monkeypatch):
    def parse_arguments(*arguments):
        monkeypatch.setattr('sys.argv', ['tool', *arguments])
        return parse_run_arguments(argparse.ArgumentParser())

    return parse_arguments


def test_option_values_are_parsed(parse):
    options = parse('--cfg-options', 'a.b=1', 'c=[1,2]', 'd=None', 'e=x=y')['cfg_options']
    assert options == {'a.b': 1, 'c': [1, 2], 'd': None, 'e': 'x=y'}


@pytest.mark.parametrize('option', ['depth', 'scale=[1,2'])
def test_a_malformed_option(parse, capsys, option):
    with pytest.raises(SystemExit) as stop:
        parse('--cfg-options', 'a=1', option)
    assert stop.value.code == 2
    assert f'KEY=VALUE, brackets in pairs; got: a=1 {option}' in capsys.readouterr().err


def test_the_local_rank_is_set_for_mmengine(parse, monkeypatch):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    assert 'local_rank' not in parse('--local-rank', '3')
    assert os.environ['LOCAL_RANK'] == '3'
    monkeypatch.delenv('LOCAL_RANK')


def test_a_usage_error_is_printed_alone(capsys):
    with pytest.raises(SystemExit) as stop, usage_errors_alone():
        raise UsageError('no such thing; type another')
    assert stop.value.code == 2
    assert capsys.readouterr().err == '\nerror: no such thing; type another\n'


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError), usage_errors_alone():
        raise ZeroDivisionError
