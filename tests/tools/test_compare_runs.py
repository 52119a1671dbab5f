import json
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a tool in this process, in an empty folder; return its exit status and output."""
    monkeypatch.chdir(tmp_path)

    def run_tool(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        try:
            runpy.run_path(str(TOOLS / tool), run_name='__main__')
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run_tool


@pytest.fixture
def files(tmp_path):
    """Annotations of two images, and the results of a better and a worse detector."""
    boxes = [[10, 10, 40, 50], [60, 20, 30, 90]]
    annotations = [
        dict(id=n, image_id=n, category_id=1, bbox=box, area=box[2] * box[3], iscrowd=0)
        for n, box in enumerate(boxes, 1)
    ]
    images = [dict(id=n, height=200, width=200) for n in (1, 2)]
    truth = dict(images=images, annotations=annotations, categories=[dict(id=1, name='cat')])
    worse = [dict(image_id=1, category_id=1, bbox=boxes[0], score=0.9)]
    better = [*worse, dict(image_id=2, category_id=1, bbox=boxes[1], score=0.8)]
    for name, content in (('gt', truth), ('worse', worse), ('better', better)):
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def test_comparison_and_plan_of_two_results(run, files):
    sides = ('worse.json', '--candidate', 'better.json', '--ann', 'gt.json')
    status, out, _ = run(
        'compare_runs.py', *sides, '--json', 'out/compared.json', '--resamples', '100'
    )
    assert status == 0
    assert '| AP | 50.50 | 100.00 | +49.50 |' in out
    found = json.loads((files / 'out' / 'compared.json').read_text())
    assert found['metrics']['AP']['difference'] == pytest.approx(0.495, abs=1e-3)
    assert found['verdict'] in out

    status, out, _ = run(
        'sample_size.py', *sides, '--difference', '5', '--images', '1000', '--json', 'plan.json'
    )
    assert status == 0
    assert '| 1000 | ' in out
    assert 'Assumed: a standard deviation of 0.50 AP between seeds' in out
    assert json.loads((files / 'plan.json').read_text())['difference'] == 0.05


def test_a_truncated_file_is_one_message_and_nothing_is_written(run, files):
    whole = (files / 'better.json').read_bytes()
    (files / 'better.json').write_bytes(whole[:-20])
    before = sorted(files.iterdir())
    status, _, error = run(
        'compare_runs.py',
        'worse.json',
        *('--candidate', 'better.json', '--ann', 'gt.json', '--json', 'out.json'),
    )
    assert status == 2
    assert error.count('error:') == 1
    assert 'better.json is not a whole JSON file' in error
    assert sorted(files.iterdir()) == before


SIDES = ('worse.json', '--candidate', 'better.json', '--ann', 'gt.json')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--seed', '-1'], 'seed must be 0 or more'),
        (['--workers', '0'], 'workers 1 or more'),
        (['--resamples', '100000000000'], 'no more than 100000'),
        (['--json', 'gt.json'], 'gt.json is read, and would be overwritten'),
        (['--json', 'better.json'], 'better.json is read'),
        (['--json', 'gt.json/new'], 'gt.json is a file'),
        (['--group-by', 'video'], 'have the keys height, id, width'),
        (['--looks', '2', '4'], 'are at 2, 4 seeds a side; got 1'),
    ],
)
def test_what_is_out_of_range_or_would_overwrite(run, files, options, message):
    before = {path: path.read_bytes() for path in files.iterdir()}
    status, out, error = run('compare_runs.py', *SIDES, *options)
    assert (status, out, error.count('error:')) == (2, '', 1)
    assert message in error
    assert {path: path.read_bytes() for path in files.iterdir()} == before


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--seed-spread', '-1'], 'at least 0'),
        (['--seed-spread', 'nan'], 'at least 0'),
        (['--difference', 'nan'], 'one of AP'),
        (['--json', 'gt.json'], 'would be overwritten'),
    ],
)
def test_numbers_that_a_plan_cannot_have(run, files, options, message):
    status, out, error = run('sample_size.py', *SIDES, '--difference', '5', *options)
    assert (status, out, error.count('error:')) == (2, '', 1)
    assert message in error


def test_annotations_without_an_object(run, files):
    truth = json.loads((files / 'gt.json').read_text())
    (files / 'gt.json').write_text(json.dumps({**truth, 'annotations': []}))
    status, out, _ = run('compare_runs.py', *SIDES, '--json', 'out.json')
    assert status == 0 and 'nothing to compare' in out
    status, _, error = run('plan_experiment.py', *SIDES, '--difference', '5')
    assert status == 2 and 'has no object to find' in error
    assert error.startswith('plan_experiment is sample_size now')


def test_the_table_is_printed_where_its_values_cannot_be_written(run, files):
    (files / 'pipe').symlink_to('pipe')  # a loop, which nothing sees before
    status, out, error = run('compare_runs.py', *SIDES, '--json', 'pipe')
    assert status == 2 and '| AP | 50.50 | 100.00 |' in out
    assert error.strip() == 'error: pipe cannot be written: Too many levels of symbolic links.'


PRINTS = """
import sys
sys.modules['mmdet'] = None  # its import takes seconds
from _command_line import usage_errors_alone
with usage_errors_alone():
    print('a table')
"""


def test_a_reader_that_ends_is_no_error():
    command = [sys.executable, '-c', PRINTS]
    process = subprocess.Popen(
        command, cwd=TOOLS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()
    assert process.stderr.read() == '' and process.wait() == 128 + signal.SIGPIPE
