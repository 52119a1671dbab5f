import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path, run_python):
    """Run a tool in ``tmp_path``, with its data there, and return the finished process."""

    def run_tool(tool: str, *arguments: str, options: list[str] = (), **environment: str):
        for name in ('coco', 'shapes'):  # where they exist, the tools do not look in the checkout
            (tmp_path / 'data' / name).mkdir(parents=True, exist_ok=True)
        command = [str(CHECKOUT / 'tools' / tool), *arguments]
        if options:
            command += ['--cfg-options', *options]
        if tool.endswith('.py'):
            return run_python(command, cwd=tmp_path, **environment)[0]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, 'PYTHON': sys.executable, **environment},
            capture_output=True,
            text=True,
        )

    return run_tool


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Likewise in this process, for tools that train nothing."""
    monkeypatch.chdir(tmp_path)

    def run_tool(tool: str, *arguments: str, options: list[str] = ()):
        options = ['--cfg-options', *options] if options else []
        monkeypatch.setattr(sys, 'argv', [tool, *arguments, *options])
        status = 0
        try:
            runpy.run_path(str(CHECKOUT / 'tools' / tool), run_name='__main__')
        except SystemExit as stop:
            status = stop.code
        return subprocess.CompletedProcess(sys.argv, status, *capsys.readouterr())

    return run_tool
