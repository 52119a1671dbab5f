"""From a detector in torch to an ONNX file."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from onnxscript import BOOL, FLOAT
from onnxscript import opset20 as op
from torch import nn

from se_det.errors import UsageError
from se_det.files import write_whole
from se_det.inference.export import suppression  # noqa: F401  (registers se_det::nms)

# Tracing takes other sizes than one for those of the deepest maps, and so needs large images.
SMALLEST_TRACED = 257
OPSET = 20  # of the operators above


def write_onnx(
    module: nn.Module,
    path: str | Path,
    metadata: dict[str, Any],
    outputs: Sequence[str] | None = None,
) -> int:
    """Export a module with any batch, height and width.

    Args:
        module: a forward function of `se_det.inference.export.modules`.
        path: the file to write; the weights are in it.
        metadata: values for the file's ``metadata_props``, written as JSON; ``mean`` has a value
            for each channel.
        outputs: names of what it returns; None: ``map_0``, ``map_1`` and so on.

    Returns:
        The number of outputs.

    Raises:
        UsageError: a layer cannot be exported, or the file cannot be written.
    """
    batch, height, width = (
        torch.export.Dim(name, min=smallest)
        for name, smallest in (
            ('batch', 2),
            ('height', SMALLEST_TRACED),
            ('width', SMALLEST_TRACED),
        )
    )
    channels = len(metadata['mean'])
    examples = dict(images=torch.zeros(2, channels, 512, 768), sizes=torch.tensor([[512, 768]] * 2))
    shapes = dict(images={0: batch, 2: height, 3: width}, sizes={0: batch})
    inputs = list(inspect.signature(module.forward).parameters)
    module.eval().requires_grad_(False)
    try:
        shapes = {name: shapes[name] for name in inputs}
        traced = torch.export.export(
            module, tuple(examples[name] for name in inputs), dynamic_shapes=shapes
        )
        count = len(traced.graph_signature.user_outputs)
        program = torch.onnx.export(
            traced,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs or [f'map_{index}' for index in range(count)],
            opset_version=OPSET,
            custom_translation_table={torch.ops.se_det.nms.default: _nms_in_onnx},
            verbose=False,
        )
    except Exception as error:  # torch raises many types for layers that it cannot export
        reason = next(iter(str(error).strip().splitlines()), '')
        raise UsageError(
            f'torch cannot export this detector: {type(error).__name__}: {reason}. Choose layers '
            'that torch.onnx.export knows.'
        ) from error
    program.model.metadata_props.update(
        {name: json.dumps(value) for name, value in metadata.items()}
    )
    write_whole(path, program.model_proto.SerializeToString())
    return count


def _nms_in_onnx(
    boxes: FLOAT, scores: FLOAT, iou_threshold: float, score_threshold: float, max_boxes: int
) -> BOOL:
    """`se_det.inference.export.suppression.nms` in ONNX's operators."""
    chosen = op.NonMaxSuppression(boxes, scores, max_boxes, iou_threshold, score_threshold)
    none = op.Expand(op.Constant(value_int=0), op.Shape(scores))
    ones = op.Expand(op.Constant(value_int=1), op.Shape(chosen, start=0, end=1))
    return op.Cast(op.ScatterND(none, chosen, ones), to=BOOL.dtype)
