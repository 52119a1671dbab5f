"""mmcv's compiled operators, on torch and torchvision kernels.

mmdet imports ``mmcv.ops`` everywhere, and ``mmcv.ops`` imports the compiled module ``mmcv._ext``,
which ``mmcv-lite`` does not contain. `install` puts this module under that name, so that mmdet runs
without a compiler. Each public function below has the name, the arguments and the calling
convention (results written into tensors that the caller allocated) of its namesake in mmcv 2.1, on
CPU and CUDA tensors. Every other operator raises an error when it is called, not when it is
imported. Where mmcv's own compiled module is installed, it is used and this one stays away.
"""

import importlib.util
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision.ops  # registers the kernels used below as torch.ops.torchvision
from torch import Tensor

from se_det.errors import UsageError

MMCV_EXTENSION = 'mmcv._ext'
ROI_ALIGN_AVERAGE = 1
SOFT_NMS_NAIVE, SOFT_NMS_LINEAR, SOFT_NMS_GAUSSIAN = 0, 1, 2


def install() -> bool:
    """Make ``import mmcv.ops`` work where mmcv has no compiled extension.

    Returns:
        True if this module now stands in for the extension, False if mmcv brings its own.

    Raises:
        UsageError: neither ``mmcv`` nor ``mmcv-lite`` is installed.
    """
    if importlib.util.find_spec('mmcv') is None:
        raise UsageError(
            'se_det needs mmcv, and none is installed. Without a compiler: pip install '
            '"se_det[lite]"; with mmcv\'s own compiled operators: pip install "se_det[full]".'
        )
    this_module = sys.modules[__name__]
    if sys.modules.get(MMCV_EXTENSION) is not this_module:
        if importlib.util.find_spec(MMCV_EXTENSION) is not None:
            return False
        sys.modules[MMCV_EXTENSION] = this_module
        sys.modules['mmcv']._ext = this_module  # as an import of the submodule would leave it
    return True


def __getattr__(name: str) -> Callable:
    """Stand in for an operator that this module does not have; the call raises, not the import."""
    if name.startswith('__'):
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

    def not_covered(*args, **kwargs) -> None:
        raise NotImplementedError(
            f'the mmcv operator "{name}" needs mmcv\'s compiled extension, which mmcv-lite does '
            'not contain and se_det does not replace. Install the full mmcv: pip uninstall '
            'mmcv-lite, then pip install "se_det[full]".'
        )

    not_covered.__name__ = name
    return not_covered


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Non-maximum suppression.

    Args:
        boxes: ``(N, 4)``, x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        iou_threshold: a box that overlaps a better one by more than this IoU is dropped.
        offset: 0, or 1 where a box includes its last pixel (width is x2 - x1 + 1).

    Returns:
        Indices of the kept boxes, ``(K,)`` int64, best score first.
    """
    # mmcv compares in float32. To torchvision, a float32 IoU of 0.3 is above the Python float 0.3.
    iou_threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torch.ops.torchvision.nms(_half_open(boxes, offset), scores.to(boxes), iou_threshold)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group each box that NMS keeps with the boxes that it suppresses.

    Args:
        dets: ``(N, 5)``, x1, y1, x2, y2, score.
        iou_threshold: a box that overlaps a better one by at least this IoU is suppressed.

    Returns:
        A list per kept box, best first: its index, then those it suppressed, by falling score.
    """
    order = dets[:, 4].argsort(descending=True, stable=True)
    overlaps = torchvision.ops.box_iou(dets[:, :4], dets[:, :4])
    groups = []
    while len(order):
        joins_best = overlaps[order[0], order] >= iou_threshold
        joins_best[0] = True
        groups.append(order[joins_best].tolist())
        order = order[~joins_best]
    return groups


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (arXiv 1704.04503): overlapping boxes lose score instead of being dropped.

    Args:
        boxes: ``(N, 4)``, x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        dets: ``(N, 5)``; its first K rows receive the kept boxes and their new scores.
        iou_threshold: boxes that overlap by at least this IoU lose score (not for Gaussian).
        sigma: width of the Gaussian.
        min_score: boxes whose score falls below this are dropped.
        method: 0 naive (score 0), 1 linear (times 1 - IoU), 2 Gaussian (times exp(-IoU^2/sigma)).
        offset: as in `nms`.

    Returns:
        Indices of the kept boxes, ``(K,)`` int64, in the order they were chosen.
    """
    areas_from = _half_open(boxes, offset)
    scores = scores.clone()
    remaining = torch.arange(len(boxes), device=boxes.device)
    kept = []
    while len(remaining):
        best = remaining[scores[remaining].argmax()]
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        remaining = remaining[remaining != best]
        iou = torchvision.ops.box_iou(areas_from[best, None], areas_from[remaining])[0]
        iou = iou.nan_to_num()  # two boxes without area: 0 / 0
        if method == SOFT_NMS_GAUSSIAN:
            weight = torch.exp(-iou.square() / sigma)
        elif method == SOFT_NMS_LINEAR:
            weight = torch.where(iou >= iou_threshold, 1 - iou, 1)
        else:
            weight = (iou < iou_threshold).to(scores)
        scores[remaining] *= weight
        remaining = remaining[scores[remaining] >= min_score]
    return torch.stack(kept) if kept else remaining


def bbox_overlaps(
    bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int
) -> None:
    """Overlap of boxes, written into ``ious``.

    Args:
        bboxes1: ``(M, 4)``, x1, y1, x2, y2 in pixels.
        bboxes2: ``(N, 4)``; M equals N if ``aligned``.
        ious: receives the result: ``(M, N)``, or ``(M,)`` if ``aligned``; NaN where it is 0 / 0.
        mode: 0 divides the intersection by the union, 1 by the area of the first box.
        aligned: compare row by row instead of all with all.
        offset: as in `nms`.
    """
    first, second = _half_open(bboxes1, offset), _half_open(bboxes2, offset)
    if not aligned:
        first, second = first[:, None], second[None]
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    first_area = (first[..., 2:] - first[..., :2]).prod(-1)
    second_area = (second[..., 2:] - second[..., :2]).prod(-1)
    base = first_area if mode == 1 else first_area + second_area - intersection
    ious.copy_(intersection / base)


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (arXiv 1703.06870, section 3), written into ``output``.

    Args:
        input: features, ``(N, C, H, W)``.
        rois: ``(K, 5)``, image index, then x1, y1, x2, y2 in image pixels.
        output: ``(K, C, aligned_height, aligned_width)``.
        argmax_y: for max pooling, not used.
        argmax_x: for max pooling, not used.
        aligned_height: bins down a RoI.
        aligned_width: bins across a RoI.
        spatial_scale: feature pixels per image pixel.
        sampling_ratio: samples a bin and axis; 0 takes one per feature pixel.
        pool_mode: 1, the average; 0, the maximum, is not covered.
        aligned: shift by half a pixel, so that pixel centres lie at half-integer coordinates.

    Raises:
        NotImplementedError: ``pool_mode`` is 0.
    """
    if pool_mode != ROI_ALIGN_AVERAGE:
        __getattr__('roi_align_forward (pool_mode="max")')()
    output.copy_(
        torch.ops.torchvision.roi_align(
            input, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of `roi_align_forward` by its input, added to ``grad_input`` ``(N, C, H, W)``."""
    grad_input += torch.ops.torchvision._roi_align_backward(
        grad_output,
        rois,
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution (arXiv 1703.06211), written into ``output``.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(O, C / group, kH, kW)``.
        offset: ``(N, 2 * deformable_group * kH * kW, H', W')``, y and x in turn, in pixels.
        output: ``(N, O, H', W')``.
        columns: scratch space of mmcv's kernel, not used; like ``ones`` and ``im2col_step``.
        ones: see ``columns``.
        kW: kernel width; ``kH`` its height. The weight's shape says the same.
        kH: see ``kW``.
        dW: stride across; ``dH`` down.
        dH: see ``dW``.
        padW: zero padding left and right; ``padH`` above and below.
        padH: see ``padW``.
        dilationW: dilation across; ``dilationH`` down.
        dilationH: see ``dilationW``.
        group: groups of channels in the convolution.
        deformable_group: groups of channels that share an offset.
        im2col_step: see ``columns``.
    """
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    output.copy_(_deform_conv(input, weight, offset, None, None, geometry))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Gradient of `deform_conv_forward`, added to ``gradInput`` and ``gradOffset``."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_conv_backward(gradOutput, input, weight, offset, None, None, geometry)
    gradInput += grads[0]
    gradOffset += grads[2]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """Gradient of `deform_conv_forward` by its weight, times ``scale``, added to ``gradWeight``."""
    geometry = (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group)
    grads = _deform_conv_backward(gradOutput, input, gradWeight, offset, None, None, geometry)
    gradWeight += scale * grads[1]


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution v2 (arXiv 1811.11168, equation 1), written into ``output``.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(O, C / group, kernel_h, kernel_w)``.
        bias: ``(O,)``, not read unless ``with_bias``.
        ones: scratch space of mmcv's kernel, not used; like ``columns``.
        offset: ``(N, 2 * deformable_group * kernel_h * kernel_w, H', W')``, y and x in turn.
        mask: ``(N, deformable_group * kernel_h * kernel_w, H', W')``, the modulation.
        output: ``(N, O, H', W')``.
        columns: see ``ones``.
        kernel_h: kernel height; ``kernel_w`` its width. The weight's shape says the same.
        kernel_w: see ``kernel_h``.
        stride_h: stride down; ``stride_w`` across.
        stride_w: see ``stride_h``.
        pad_h: zero padding above and below; ``pad_w`` left and right.
        pad_w: see ``pad_h``.
        dilation_h: dilation down; ``dilation_w`` across.
        dilation_w: see ``dilation_h``.
        group: groups of channels in the convolution.
        deformable_group: groups of channels that share an offset.
        with_bias: whether to add ``bias``.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    output.copy_(_deform_conv(input, weight, offset, mask, bias if with_bias else None, geometry))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Gradient of `modulated_deform_conv_forward`, added to the five ``grad_`` tensors."""
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    bias = bias if with_bias else None
    grads = _deform_conv_backward(grad_output, input, weight, offset, mask, bias, geometry)
    grad_input += grads[0]
    grad_weight += grads[1]
    grad_offset += grads[2]
    grad_mask += grads[3]
    if with_bias:
        grad_bias += grads[4]


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss (arXiv 1708.02002, equation 5) a sample and class, written into ``output``.

    Args:
        input: logits, ``(N, C)``.
        target: class index a sample, ``(N,)`` int64; C means background.
        weight: weight a class, ``(C,)``, or empty for none; background has weight 1.
        output: ``(N, C)``.
        gamma: focusing exponent.
        alpha: weight of the positive class; the negative has ``1 - alpha``.
    """
    output.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha)[0])


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Gradient of `sigmoid_focal_loss_forward`, written into ``grad_input`` ``(N, C)``."""
    grad_input.copy_(_sigmoid_focal_loss(input, target, weight, gamma, alpha)[1])


def _half_open(boxes: Tensor, offset: int) -> Tensor:
    """Boxes whose width is x2 - x1, from boxes whose width is x2 - x1 + offset."""
    return boxes + boxes.new_tensor([0, 0, offset, offset]) if offset else boxes


def _deform_conv(input, weight, offset, mask, bias, geometry) -> Tensor:
    """Both versions of deformable convolution; ``mask`` and ``bias`` may be None."""
    use_mask = mask is not None
    mask = mask if use_mask else input.new_zeros(len(input), 1)
    bias = bias if bias is not None else weight.new_zeros(len(weight))
    return torch.ops.torchvision.deform_conv2d(
        input, weight, offset, mask, bias, *geometry, use_mask
    )


def _deform_conv_backward(grad, input, weight, offset, mask, bias, geometry) -> tuple[Tensor, ...]:
    """Gradients of `_deform_conv` by input, weight, offset, mask and bias, in that order."""
    use_mask = mask is not None
    mask = mask if use_mask else input.new_zeros(len(input), 1)
    bias = bias if bias is not None else weight.new_zeros(len(weight))
    return torch.ops.torchvision._deform_conv2d_backward(
        grad, input, weight, offset, mask, bias, *geometry, use_mask
    )


def _sigmoid_focal_loss(logits, target, weight, gamma, alpha) -> tuple[Tensor, Tensor]:
    """Focal loss a sample and class, and its derivative by the logit."""
    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    # Apart from alpha, a negative at x costs what a positive does at -x.
    sign = torch.where(positive, 1, -1)
    p, log_p = (sign * logits).sigmoid(), F.logsigmoid(sign * logits)
    not_p = (-sign * logits).sigmoid()
    scale = torch.where(positive, alpha, 1 - alpha).to(logits) * not_p**gamma
    if weight.numel():
        scale = scale * F.pad(weight, (0, 1), value=1)[target, None]
    # Autograd would give NaN for gamma < 1, where the derivative of not_p**gamma has a pole at 0.
    return -scale * log_p, -sign * scale * (not_p - gamma * p * log_p)
