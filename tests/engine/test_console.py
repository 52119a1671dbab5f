"""The lines of a run: few of the libraries', and a next command if there is one."""

import logging
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger

from se_det.engine.console import ConsoleHook, quieten


def _log_from(module, logger, message, level=logging.INFO):
    """Log as the code of a module does."""
    exec('logger.log(level, message)', dict(logger=logger, level=level, message=message) | module)


@pytest.mark.parametrize(
    ('module', 'level', 'message', 'shown'),
    [
        ('se_det.engine.launch', logging.INFO, 'COCO metrics by hotcoco', True),
        ('of_a_user', logging.INFO, 'mine', True),
        (None, logging.INFO, 'of code without a module', True),
        ('mmengine.hooks.logger_hook', logging.INFO, 'Epoch(train)', True),
        ('mmengine.runner.runner', logging.INFO, 'Config:', False),
        ('mmdet.models', logging.INFO, 'initialised', False),
        ('mmengine.runner.runner', logging.WARNING, 'careful', True),
        ('mmengine.fileio', logging.WARNING, 'FileClient will be deprecated', False),
    ],
)
def test_what_is_shown(tmp_path, capfd, module, level, message, shown):
    file = tmp_path / 'run.log'
    logger = MMLogger(tmp_path.name, log_file=str(file))
    quieten(logger)
    _log_from(dict(__name__=module) if module else {}, logger, message, level)
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
    console = ConsoleHook(cfg)
    console.after_train(runner)
    console.after_run(runner)
    assert lines[-1].endswith(end)
