"""Fixtures for several test files."""

import ctypes
import gc
import json
import logging
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from format_once import format_once
from hypothesis import settings
from mmengine.config import Config
from mmengine.logging import MMLogger

import se_det  # noqa: F401  (before mmcv.ops, which needs it if mmcv is not compiled)
from se_det.engine.launch import load_config

# Last: tools/test.py has the name of a module of Python.
sys.path.append(str(Path(__file__).parents[1] / 'tools'))
settings.register_profile('se_det', deadline=None, max_examples=50, derandomize=True)
settings.load_profile('se_det')
format_once()


@pytest.fixture(scope='session', autouse=True)
def without_caches_and_network(tmp_path_factory):
    """Give tests, and the processes that they start, an empty hub cache and no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('TORCH_HOME', str(tmp_path_factory.mktemp('torch')))
        for variable in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
            patch.setenv(variable, 'http://127.0.0.1:9')  # nothing listens at the discard port
        patch.setenv('no_proxy', 'localhost')  # where the browser of its tests listens
        yield


def pytest_collection_finish():
    """What was imported stays; the collector need not look at it again."""
    gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def memory_is_given_back():
    """Over 1.2 GB: the models of a file, which glibc would keep for the next."""
    yield
    if sys.platform == 'linux':
        pages = int(Path('/proc/self/statm').read_text().split()[1])
        if pages * resource.getpagesize() > 1.2e9:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def without_visualizers_of_others():
    """mmengine names a run by the second; a second run in it would write where the first did."""
    from mmdet.visualization import DetLocalVisualizer

    DetLocalVisualizer._instance_dict.clear()


@pytest.fixture(scope='session')
def run_python(tmp_path_factory) -> Callable[..., list[subprocess.CompletedProcess]]:
    """Run programs side by side, without the seconds that imports take: see helpers/forks.py."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name('helpers') / 'forks.py'],
        env={**os.environ, 'PYTORCH_NVML_BASED_CUDA_CHECK': '1'},  # a fork may then use CUDA
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(*programs: list, cwd: Path | None = None, **environment: str):
        outputs = [tmp_path_factory.mktemp('output') for _ in programs]
        requests = [
            dict(
                arguments=[str(argument) for argument in program],
                folder=str(cwd or Path.cwd()),
                environment={**os.environ, **environment},
                stdout=str(folder / 'stdout'),
                stderr=str(folder / 'stderr'),
            )
            for program, folder in zip(programs, outputs, strict=True)
        ]
        print(json.dumps(requests), file=server.stdin, flush=True)
        return [
            subprocess.CompletedProcess(
                program, status, (folder / 'stdout').read_text(), (folder / 'stderr').read_text()
            )
            for program, folder, status in zip(
                programs, outputs, json.loads(server.stdout.readline()), strict=True
            )
        ]

    yield run
    server.stdin.close()
    server.wait()


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
def free_port() -> Callable[[], str]:
    """A port of this machine that nothing listens at."""

    def find() -> str:
        with socket.socket() as listener:
            listener.bind(('127.0.0.1', 0))
            return str(listener.getsockname()[1])

    return find


@pytest.fixture
def log():
    """The messages that are logged while a test runs."""
    texts = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield texts
    logger.removeHandler(handler)


@pytest.fixture
def write(tmp_path):
    """Write JSON files and return their paths."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_text(json.dumps(content))
        return path

    return write_file


@pytest.fixture(scope='session')
def rgb() -> dict:
    """The preprocessing of torchvision's weights."""
    return dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@pytest.fixture(scope='session')
def caffe() -> dict:
    """The preprocessing of weights that were trained in Caffe."""
    return dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], bgr_to_rgb=False)


@pytest.fixture(scope='session')
def config(rgb):
    """Make the config of a detector with a plain ResNet-50; its model need not build."""

    def detector(data_preprocessor=rgb, owner=(), **backbone):
        pretrained = dict(type='Pretrained', checkpoint='torchvision://resnet50')
        backbone = {**dict(type='ResNet', depth=50, init_cfg=pretrained), **backbone}
        images = dict(type='DetDataPreprocessor', pad_size_divisor=32, **data_preprocessor)
        model = dict(type='RetinaNet', data_preprocessor=images, backbone=backbone)
        return Config(deepcopy(dict(model={**model, **dict(owner)})))

    return detector


@pytest.fixture
def faster_rcnn():
    """Make the config of a narrow Faster R-CNN."""

    def config(backbone, base_channels=8, se_cfg=None, **model):
        cfg = load_config('configs/faster_rcnn_r50.py').model
        cfg.update(model)
        cfg.backbone.update(type=backbone, base_channels=base_channels, init_cfg=None)
        if se_cfg is not None:
            cfg.backbone.se_cfg = se_cfg
        cfg.neck.update(in_channels=[base_channels * n for n in (4, 8, 16, 32)], out_channels=16)
        cfg.rpn_head.update(in_channels=16, feat_channels=16)
        cfg.roi_head.bbox_roi_extractor.out_channels = 16
        cfg.roi_head.bbox_head.update(in_channels=16, fc_out_channels=32)
        cfg.train_cfg.rpn_proposal.max_per_img = 50
        cfg.test_cfg.rpn.max_per_img = 50
        cfg.test_cfg.rcnn.score_thr = 0.0
        return cfg

    return config


@pytest.fixture(scope='session')
def tiny() -> dict:
    """Options that make a config's detector small: a CPU trains it in seconds on small images."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return {
        'model.backbone.init_cfg': None,
        'model.backbone.frozen_stages': -1,
        'model.backbone.norm_eval': False,
        'model.backbone.base_channels': 8,
        'model.neck.in_channels': [32, 64, 128, 256],
        'model.neck.out_channels': 16,
        'model.rpn_head.in_channels': 16,
        'model.rpn_head.feat_channels': 16,
        'model.roi_head.bbox_roi_extractor.out_channels': 16,
        'model.roi_head.bbox_head.in_channels': 16,
        'model.roi_head.bbox_head.fc_out_channels': 32,
        'model.train_cfg.rpn_proposal.max_per_img': 50,
        'model.test_cfg.rpn.max_per_img': 50,
        **{f'{loader}.num_workers': 0 for loader in loaders},
        **{f'{loader}.persistent_workers': False for loader in loaders},
        'default_hooks.logger.interval': 1,
    }


@pytest.fixture
def quick(tiny) -> list[str]:
    """The same on a command line."""
    return [f'{name}={value}'.replace(' ', '') for name, value in tiny.items()]
