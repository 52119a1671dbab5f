"""The SE twin of a config, as a file and with --se."""

import pytest
from mmengine.config import Config

RETINANET = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
PLAIN_SHAPES = 'configs/faster_rcnn_r50_shapes.py'


def test_the_twin_is_written_and_printed(run_here, tmp_path):
    options = ['--reduction', '8', '--graft']
    written = run_here('swap_backbone.py', RETINANET, '--out', 'se/retinanet.py', *options)
    assert written.returncode == 0, written.stderr
    text = (tmp_path / 'se' / 'retinanet.py').read_text()
    assert written.stdout.endswith(text)
    backbone = Config.fromfile(tmp_path / 'se' / 'retinanet.py').model.backbone
    assert backbone.type == 'SEResNet'
    assert backbone.se_cfg == dict(reduction=8)
    assert backbone.init_cfg.graft and backbone.init_cfg.checkpoint == 'torchvision://resnet50'


@pytest.mark.long
def test_train_and_test_with_se(run, quick, tmp_path):
    options = [
        *quick,
        'train_cfg.max_epochs=1',
        'model.backbone.se_cfg.reduction=8',
        'train_dataloader.dataset.num_images=2',
        'val_dataloader.dataset.num_images=2',
        'test_dataloader.dataset.num_images=2',
        'train_dataloader.batch_size=2',
    ]
    trained = run('train.py', PLAIN_SHAPES, '--se', options=options)
    assert trained.returncode == 0, trained.stderr
    work_dir = tmp_path / 'work_dirs' / 'faster_rcnn_r50_shapes_se'
    used = Config.fromfile(work_dir / 'faster_rcnn_r50_shapes.py').model.backbone
    assert (used.type, used.se_cfg) == ('SEResNet', dict(reduction=8))
    tested = run('test.py', PLAIN_SHAPES, str(work_dir / 'epoch_1.pth'), '--se', options=options)
    assert tested.returncode == 0, tested.stderr
    assert 'unexpected key' not in tested.stdout + tested.stderr
    assert 'missing key' not in tested.stdout + tested.stderr
