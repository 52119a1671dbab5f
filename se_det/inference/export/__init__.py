"""Export of trained detectors to ONNX, NMS included."""

from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from se_det.errors import UsageError
from se_det.inference.export.image_facts import preprocessing
from se_det.inference.export.modules import Features, WholeDetector
from se_det.inference.export.parts import check_settings, unknown_part
from se_det.inference.trained_model import load_trained

__all__ = ['export_onnx']


def export_onnx(config: str | Config, checkpoint: str, out: str | Path) -> str:
    """Export a detector with any batch, height and width.

    Faster, Mask and Cascade R-CNN and RetinaNet are exported whole: `se_det.OnnxDetector` runs the
    file, without torch. Its inputs and outputs are those of
    `se_det.inference.export.modules.WholeDetector`; names of the classes and what to do to images
    are in its ``metadata_props``. Of other detectors the backbone and the neck are exported.

    Args:
        config: as for `se_det.config_files.read_config`, or a Config.
        checkpoint: path or URL.
        out: the file to write.

    Returns:
        What was exported, and why not all of it.

    Raises:
        UsageError: config or checkpoint cannot be read or do not fit, onnx is not installed, or
            a setting or layer cannot be exported.
    """
    missing = [name for name in ('onnx', 'onnxscript') if not find_spec(name)]
    if missing:
        raise UsageError(f"Export needs {' and '.join(missing)}. Type: pip install 'se_det[onnx]'")
    from se_det.inference.export.onnx_file import write_onnx

    detector, cfg, classes = load_trained(checkpoint, config)
    unknown = unknown_part(detector)
    metadata = dict(
        se_det='features' if unknown else 'detector',
        classes=classes,
        **preprocessing(cfg, detector),
    )
    if unknown:
        count = write_onnx(Features(detector), out, metadata)
        return (
            f'{out}: the backbone and the neck of {type(detector).__name__}, {count} feature maps. '
            f'Its heads are not exported, as {unknown}.'
        )
    check_settings(detector)
    module = WholeDetector(detector)
    if module.has_masks:
        metadata['mask_threshold'] = detector.roi_head.test_cfg.mask_thr_binary
    write_onnx(module, out, metadata, module.outputs)
    outputs = ', '.join(module.outputs)
    return f'{out}: {type(detector).__name__}, {len(classes)} classes; outputs {outputs}'
