"""The lines of a run: few of the libraries', and a next command if there is one."""

import logging
from types import SimpleNamespace

import mmdet
import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, logger_hook
from mmengine.logging import MMLogger
from mmengine.runner import runner
from pycocotools.coco import COCO

from se_det.engine import console
from se_det.engine.console import ConsoleHook, quieten, silent_annotations


def _log_from(path, logger, message, level=logging.INFO):
    """Log as the code in a file does."""
    code = compile('logger.log(level, message)', path, 'exec')
    exec(code, dict(logger=logger, level=level, message=message))


@pytest.mark.parametrize(
    ('path', 'level', 'message', 'shown'),
    [
        (console.__file__, logging.INFO, 'COCO metrics by hotcoco', True),
        ('/home/mine.py', logging.INFO, 'mine', True),
        ('<string>', logging.INFO, 'of no file', True),
        (logger_hook.__file__, logging.INFO, 'Epoch(train)', True),
        (runner.__file__, logging.INFO, 'Config:', False),
        (mmdet.__file__, logging.INFO, 'initialised', False),
        (runner.__file__, logging.WARNING, 'careful', True),
        (runner.__file__, logging.WARNING, 'FileClient will be deprecated', False),
    ],
)
def test_what_is_shown(tmp_path, capfd, path, level, message, shown):
    file = tmp_path / 'run.log'
    logger = MMLogger(tmp_path.name, log_file=str(file))
    quieten(logger)
    _log_from(path, logger, message, level)
    assert (message in capfd.readouterr().out) == shown
    assert message in file.read_text()


@pytest.mark.parametrize(
    ('saved', 'loaded', 'end'),
    [
        ('work/epoch_1.pth', None, r'Next: python -m se_det test a.py work/epoch_1.pth'),
        (None, 'work/epoch_2.pth', r'Next: python -m se_det test a.py work/epoch_2.pth'),
        (None, None, 'Results: work/report.html'),
    ],
)
def test_the_last_line_of_a_training(saved, loaded, end):
    lines = []
    hook = CheckpointHook()
    hook.last_ckpt = saved
    runner = SimpleNamespace(
        hooks=[hook], work_dir='work', logger=SimpleNamespace(info=lines.append)
    )
    cfg = Config(dict(load_from=loaded))
    object.__setattr__(cfg, '_filename', 'a.py')
    shown = ConsoleHook(cfg)
    shown.after_train(runner)
    shown.after_run(runner)
    assert lines[-1].endswith(end)


def test_annotations_are_read_without_prints(capsys):
    with pytest.raises(KeyError), silent_annotations():
        COCO().createIndex()
        print('of a data set')
        raise KeyError
    assert capsys.readouterr().out == 'of a data set\n'
