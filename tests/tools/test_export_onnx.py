import numpy as np
import pytest
import torch
from mmdet.registry import MODELS

import se_det
from se_det.engine.launch import load_config
from se_det.errors import UsageError

onnxruntime = pytest.importorskip('onnxruntime', reason="pip install 'se_det[onnx]'")
pytest.importorskip('onnxscript', reason="pip install 'se_det[onnx]'")


@pytest.mark.long
def test_of_other_detectors_the_tool_exports_the_maps_and_says_why(run, tmp_path):
    cfg = load_config('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')
    cfg.model.backbone.update(depth=18, init_cfg=None, style='pytorch')
    cfg.model.neck.in_channels = [64, 128, 256, 512]
    detector = MODELS.build(cfg.model).eval()
    cfg.dump(tmp_path / 'fcos.py')
    torch.save(dict(state_dict=detector.state_dict(), meta={}), tmp_path / 'fcos.pth')
    done = run('export_onnx.py', 'fcos.py', 'fcos.pth', 'maps.onnx')
    assert 'type is FCOS' in done.stdout and '5 feature maps' in done.stdout, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / 'maps.onnx')
    images = torch.randn(3, 3, 96, 160)
    found = session.run(None, dict(images=images.numpy()))
    with torch.no_grad():
        expected = detector.extract_feat(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours - theirs.numpy()).max() < 1e-4
    with pytest.raises(UsageError, match='feature maps'):
        se_det.OnnxDetector(tmp_path / 'maps.onnx')
