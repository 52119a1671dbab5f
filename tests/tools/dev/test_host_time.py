"""The measurement of host time runs, which CI would not see otherwise."""

import re
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / 'tools/dev/host_time.py'


def test_each_contender_has_a_row(run_python):
    (done,) = run_python([SCRIPT, '--seconds', '0.2'])
    assert done.returncode == 0, done.stderr
    rows = [line.split('|')[1].strip() for line in done.stdout.splitlines()[2:]]
    assert rows == [
        'MMDetection, plain',
        'MMDetection, SELayer',
        'se_det, layer by layer',
        'se_det, fused',
        'se_det, whether it may be fused',
    ]
    assert re.search(r'SELayer \| [\d.]+ \| [\d.]+ \| 1.00 \|', done.stdout)
