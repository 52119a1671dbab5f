"""Run Python programs in forks of one process, which has imported what takes seconds.

Each line of its standard input is a list of programs that run side by side; their exit statuses
are its answer. A fork leaves the loop and ends as any Python program does.
"""

import importlib
import json
import os
import runpy
import sys

from format_once import format_once

IMPORTED = (
    'matplotlib.pyplot',
    'mmdet.engine',
    'mmdet.visualization',
    'se_det.engine.launch',
    'torch._dynamo',
)
for module in IMPORTED:
    importlib.import_module(module)
format_once()
importlib.import_module('se_det.config_files').read_config('faster_rcnn_r50.py')  # keeps its YAML


def _next_program() -> dict:
    """Serve; returns in each fork the program that it is to run."""
    for line in sys.stdin:
        pids = []
        for program in json.loads(line):
            if not (pid := os.fork()):
                return program
            pids.append(pid)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(statuses), flush=True)
    sys.exit()


program = _next_program()
os.chdir(program['folder'])
os.environ.clear()
os.environ.update(program['environment'])
for number, path in enumerate((os.devnull, program['stdout'], program['stderr'])):
    os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
sys.argv = program['arguments']
if sys.argv[0] == '-c':
    sys.path[0] = ''
    exec(compile(sys.argv.pop(1), '<string>', 'exec'), dict(__name__='__main__'))
else:
    sys.path[0] = os.path.dirname(sys.argv[0])
    runpy.run_path(sys.argv[0], run_name='__main__')
