import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


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


SIDES = ('worse.json', '--candidate', 'better.json', '--ann', 'gt.json')


def test_comparison_and_plan_of_two_results(run_here, files):
    output = ('--json', 'out/compared.json')
    compared = run_here('compare_runs.py', *SIDES, *output, '--resamples', '100')
    assert compared.returncode == 0
    assert '| AP | 50.50 | 100.00 | +49.50 |' in compared.stdout
    found = json.loads((files / 'out' / 'compared.json').read_text())
    assert found['metrics']['AP']['difference'] == pytest.approx(0.495, abs=1e-3)
    assert found['verdict'] in compared.stdout

    output = ('--json', 'plan.json')
    planned = run_here('sample_size.py', *SIDES, '--difference', '5', '--images', '1000', *output)
    assert planned.returncode == 0
    assert '| 1000 | ' in planned.stdout
    assert 'Assumed: a standard deviation of 0.50 AP between seeds' in planned.stdout
    assert json.loads((files / 'plan.json').read_text())['difference'] == 0.05


@pytest.mark.parametrize(
    ('tool', 'options', 'message'),
    [
        ('compare_runs.py', ['--seed', '-1'], 'seed must be 0 or more'),
        ('compare_runs.py', ['--workers', '0'], 'workers 1 or more'),
        ('compare_runs.py', ['--resamples', '100000000000'], 'no more than 100000'),
        ('compare_runs.py', ['--json', 'gt.json'], 'gt.json is read, and would be overwritten'),
        ('compare_runs.py', ['--json', 'better.json'], 'better.json is read'),
        ('compare_runs.py', ['--json', 'gt.json/new'], 'gt.json is a file'),
        ('compare_runs.py', ['--group-by', 'video'], 'have the keys height, id, width'),
        ('compare_runs.py', ['--looks', '2', '4'], 'are at 2, 4 seeds a side; got 1'),
        ('sample_size.py', ['--difference', '5', '--seed-spread', '-1'], 'at least 0'),
        ('sample_size.py', ['--difference', '5', '--seed-spread', 'nan'], 'at least 0'),
        ('sample_size.py', ['--difference', 'nan'], 'one of AP'),
        ('sample_size.py', ['--difference', '5', '--json', 'gt.json'], 'would be overwritten'),
    ],
)
def test_what_is_out_of_range_or_would_overwrite(run_here, files, tool, options, message):
    before = {path: path.read_bytes() for path in files.iterdir()}
    done = run_here(tool, *SIDES, *options)
    assert (done.returncode, done.stdout, done.stderr.count('error:')) == (2, '', 1)
    assert message in done.stderr
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_a_truncated_file_is_one_message_and_nothing_is_written(run_here, files):
    whole = (files / 'better.json').read_bytes()
    (files / 'better.json').write_bytes(whole[:-20])
    before = sorted(files.iterdir())
    done = run_here('compare_runs.py', *SIDES, '--json', 'out.json')
    assert done.returncode == 2 and done.stderr.count('error:') == 1
    assert 'better.json cannot be read as JSON' in done.stderr
    assert sorted(files.iterdir()) == before


def test_annotations_without_an_object(run_here, files):
    truth = json.loads((files / 'gt.json').read_text())
    (files / 'gt.json').write_text(json.dumps({**truth, 'annotations': []}))
    compared = run_here('compare_runs.py', *SIDES, '--json', 'out.json')
    assert compared.returncode == 0 and 'nothing to compare' in compared.stdout
    planned = run_here('plan_experiment.py', *SIDES, '--difference', '5')
    assert planned.returncode == 2 and 'has no object to find' in planned.stderr
    assert planned.stderr.startswith('plan_experiment is sample_size now')


def test_the_table_is_printed_where_its_values_cannot_be_written(run_here, files):
    (files / 'pipe').symlink_to('pipe')  # a loop, which nothing sees before
    done = run_here('compare_runs.py', *SIDES, '--json', 'pipe')
    assert done.returncode == 2 and '| AP | 50.50 | 100.00 |' in done.stdout
    message = 'error: pipe cannot be written: Too many levels of symbolic links.'
    assert done.stderr.strip() == message


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
