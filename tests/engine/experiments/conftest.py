import sys

import pytest
import torch

from se_det.engine.experiments.experiment import Experiment
from se_det.engine.experiments.plan import read_plan

PLAIN = 'configs/faster_rcnn_r50_shapes.py'
SE = 'configs/faster_rcnn_se_r50_shapes.py'


@pytest.fixture
def make_plan(tmp_path):
    """Write a plan, by default two arms and two seeds, and read it."""

    def make(text='', name='mine'):
        file = tmp_path / f'{name}.py'
        arms = f'arms = dict(plain=dict(config={PLAIN!r}), se=dict(config={SE!r}))\nseeds = 2\n'
        file.write_text(arms + text)
        return read_plan(str(file))

    return make


@pytest.fixture
def make_experiment(make_plan, tmp_path):
    """Make an experiment of two configs of a line each, in ``tmp_path / 'experiment'``."""
    for arm in ('plain', 'se'):
        (tmp_path / f'{arm}.py').write_text(f'arm = {arm!r}\ntrain_cfg = dict(max_epochs=3)\n')

    def make(text=''):
        arms = f'arms = {{arm: dict(config={str(tmp_path)!r} + f"/{{arm}}.py") for arm in arms}}\n'
        return Experiment(make_plan(arms + text), tmp_path / 'experiment')

    return make


# Stands in for tools/train.py: ten steps, then detections and a result that follow from the seed.
TRAINER = """
import json, os, pathlib, re, shutil, sys, time
config, folder = sys.argv[1], pathlib.Path(sys.argv[3])
seed = int(re.search(r'seed=(\\d+)', pathlib.Path(config).read_text())[1])
value = seed
for step in range(1, 11):
    print(f'Epoch(train) [1][{step}/10]  lr: 1.0  eta: 0:00:{10 - step:02}  loss: 1.0', flush=True)
    value = (value * 31 + len(folder.parent.name)) % 997
    (folder / 'detections.bbox.json').write_text(json.dumps([value])[: step])  # half-written
    time.sleep(SECONDS / 10)
if seed in FAILS:
    sys.exit('no luck')
shutil.copy(CHECKPOINT, folder / 'epoch_1.pth')
(folder / 'detections.bbox.json').write_text(json.dumps([value]))
result = dict(metrics={'coco/bbox_mAP': value / 1000}, iterations=10, seconds=1.0)
(folder / '.result.json').write_text(json.dumps(result))
os.replace(folder / '.result.json', folder / 'result.json')
"""


@pytest.fixture
def make_launcher(tmp_path, monkeypatch):
    """Make a launcher of stand-ins that train for a moment."""
    monkeypatch.setattr('se_det.engine.experiments.experiment.LOOK_AGAIN', 0.02)

    class StandIn:
        def __init__(self, jobs, seconds, fails):
            self.jobs = jobs
            self.script = tmp_path / 'trainer.py'
            checkpoint = tmp_path / 'any.pth'
            torch.save(dict(meta=dict(epoch=1, iter=10), message_hub={}, optimizer={}), checkpoint)
            text = TRAINER.replace('SECONDS', str(seconds)).replace('FAILS', str(fails))
            text = text.replace('CHECKPOINT', repr(str(checkpoint)))
            self.script.write_text(text)

        def check(self):
            pass

        def command(self, name, slot):
            return [sys.executable, str(self.script), 'CONFIG'], {'SLOT': str(slot)}

    def make(jobs=1, seconds=0.2, fails=()):
        return StandIn(jobs, seconds, fails)

    return make
