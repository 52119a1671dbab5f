"""Links, commands and configs in the README and in docs/ are those that there are."""

import argparse
import re
import runpy
import shlex
from itertools import takewhile
from pathlib import Path

import pytest

from se_det.config_files import read_config

CHECKOUT = Path(__file__).parents[1]
PAGES = [
    CHECKOUT / 'README.md',
    *sorted((CHECKOUT / 'docs').glob('*.md')),
    *sorted((CHECKOUT / 'configs').rglob('*.md')),
]


def _blocks(page, language):
    return re.findall(rf'```{language}\n(.*?)```', page.read_text(), re.DOTALL)


def _commands():
    """Calls of a tool: the words from its path on, as far as the shell's next operator."""
    found = {}
    for page in PAGES:
        text = ''.join(_blocks(page, 'bash')).replace('\\\n', ' ')
        for line in text.splitlines():
            words = shlex.split(line, comments=True)
            starts = [i for i, word in enumerate(words) if re.fullmatch(r'tools/\S+\.py', word)]
            for start in starts:
                command = [*takewhile(lambda word: word not in ('&&', '|'), words[start:])]
                found[' '.join(command)] = command
    return found


COMMANDS = _commands()


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page):
    text = page.read_text()
    for link in re.findall(r'\]\(([^)\s]+)\)', text):
        if link.startswith('http'):
            continue
        name, _, anchor = link.partition('#')
        target = page.parent / name if name else page
        assert target.exists(), link
        titles = re.findall(r'^#+ (.*)', target.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-') for title in titles]
        assert not anchor or anchor in anchors, link


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_files_that_are_named_are_there(page):
    files = re.findall(r'\b(?:tools|tests|se_det|configs)/[\w/]+\.(?:py|sh)', page.read_text())
    for file in {*files} - {'configs/cells.py'}:
        assert (CHECKOUT / file).exists(), file


class Parsed(Exception):
    """The arguments were parsed."""


@pytest.mark.parametrize('command', COMMANDS.values(), ids=COMMANDS.keys())
def test_commands_are_those_that_the_tools_take(command, monkeypatch):
    parse = argparse.ArgumentParser.parse_args

    def stop(parser, *arguments):
        parse(parser, *arguments)
        raise Parsed

    tool, *arguments = command
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
    monkeypatch.setattr('sys.argv', [tool, *arguments])
    monkeypatch.syspath_prepend((CHECKOUT / tool).parent)
    with pytest.raises(Parsed):
        runpy.run_path(str(CHECKOUT / tool), run_name='__main__')
    for word in arguments:
        assert not word.startswith('configs/') or (CHECKOUT / word).exists(), word


def test_a_twin_is_written_as_the_readme_says(tmp_path, run_python):
    (command,) = [words for text, words in COMMANDS.items() if 'dino_se.py' in text]
    (process,) = run_python([CHECKOUT / command[0], *command[1:]], cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert read_config(str(tmp_path / 'dino_se.py')).model.backbone.type == 'SEResNet'


def test_a_config_of_ones_own_is_one(tmp_path):
    (config,) = [block for block in _blocks(PAGES[0], 'python') if 'mmdet::' in block]
    (tmp_path / 'own.py').write_text(config)
    assert read_config(str(tmp_path / 'own.py')).model.backbone.type == 'SEResNet'


def test_the_readme_is_short():
    text = PAGES[0].read_text()
    assert len(text.split()) <= 1200 and len(text.splitlines()) <= 160
