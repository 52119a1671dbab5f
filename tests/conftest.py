"""What several test files share."""

import logging
import os
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger

if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'  # read when triton is imported

import se_det  # noqa: F401  (first of all: where mmcv is not compiled, mmcv.ops needs it)


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of recorded data and sample data sets: $SE_DET_SHARED, or beside the checkout."""
    beside_checkout = Path(__file__).resolve().parents[2] / 'shared'
    folder = Path(os.environ.get('SE_DET_SHARED', beside_checkout))
    if not folder.is_dir():
        pytest.skip(
            'not run: the checks against recorded data and sample data sets. Their folder is not '
            f'at {folder}; set SE_DET_SHARED to where it is.'
        )
    return folder


@pytest.fixture
def log():
    """What is logged while a test runs, a text a message."""
    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)
