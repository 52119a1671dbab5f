"""Deformable convolution, versions 1 and 2."""

import torch
import torch.nn.functional as F
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor


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
        offset: ``(N, 2 * deformable_group * kH * kW, H', W')``, alternately y and x, in pixels.
        output: ``(N, O, H', W')``.
        columns: scratch space of mmcv's kernel, not used; as ``ones`` and ``im2col_step``.
        ones: see ``columns``.
        kW: kernel width; ``kH`` its height. Both as in the weight's shape.
        kH: see ``kW``.
        dW: horizontal stride; ``dH`` vertical.
        dH: see ``dW``.
        padW: zero padding left and right; ``padH`` at top and bottom.
        padH: see ``padW``.
        dilationW: horizontal dilation; ``dilationH`` vertical.
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
        ones: scratch space of mmcv's kernel, not used; as ``columns``.
        offset: ``(N, 2 * deformable_group * kernel_h * kernel_w, H', W')``, alternately y and x.
            May be larger, like the mask: see `_first_values`.
        mask: ``(N, deformable_group * kernel_h * kernel_w, H', W')``, the modulation.
        output: ``(N, O, H', W')``.
        columns: see ``ones``.
        kernel_h: kernel height; ``kernel_w`` its width. Both as in the weight's shape.
        kernel_w: see ``kernel_h``.
        stride_h: vertical stride; ``stride_w`` horizontal.
        stride_w: see ``stride_h``.
        pad_h: zero padding at top and bottom; ``pad_w`` left and right.
        pad_w: see ``pad_h``.
        dilation_h: vertical dilation; ``dilation_w`` horizontal.
        dilation_w: see ``dilation_h``.
        group: groups of channels in the convolution.
        deformable_group: groups of channels that share an offset.
        with_bias: whether to add ``bias``.
    """
    geometry = (stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group)
    offset, mask = (_first_values(tensor, output.shape[2:]) for tensor in (offset, mask))
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
    offset, mask = (_first_values(tensor, grad_output.shape[2:]) for tensor in (offset, mask))
    grads = _deform_conv_backward(grad_output, input, weight, offset, mask, bias, geometry)
    grad_input += grads[0]
    grad_weight += grads[1]
    for total, grad in ((grad_offset, grads[2]), (grad_mask, grads[3])):
        numbers = grad.flatten(1)
        beyond = total[0].numel() - numbers.shape[1]
        total += F.pad(numbers, (0, beyond)).view_as(total)
    if with_bias:
        grad_bias += grads[4]


def _first_values(tensor, size) -> Tensor:
    """The values of an offset or a mask that mmcv reads for an output of this size.

    mmcv's kernel indexes them by the output's size, even if the map itself is larger. In DyHead it
    is twice as large, and its published weights were trained that way.
    """
    numbers = tensor.flatten(1)[:, : tensor.shape[1] * size.numel()]
    return numbers.unflatten(1, (tensor.shape[1], *size))


def _deform_conv(input, weight, offset, mask, bias, geometry) -> Tensor:
    """Both versions of deformable convolution; ``mask`` and ``bias`` may be None."""
    inputs, use_mask = _complete(input, weight, offset, mask, bias)
    return torch.ops.torchvision.deform_conv2d(*inputs, *geometry, use_mask)


def _deform_conv_backward(grad, input, weight, offset, mask, bias, geometry) -> tuple[Tensor, ...]:
    """Gradients of `_deform_conv` by input, weight, offset, mask and bias, in that order."""
    inputs, use_mask = _complete(input, weight, offset, mask, bias)
    return torch.ops.torchvision._deform_conv2d_backward(grad, *inputs, *geometry, use_mask)


def _complete(input, weight, offset, mask, bias) -> tuple[tuple[Tensor, ...], bool]:
    """The tensors that torchvision's kernels need, and whether the mask is used."""
    # Offsets are NaN in diverged training. mmcv treats such samples as outside the image, where
    # values are 0; torchvision would read from an arbitrary address.
    offset = offset.nan_to_num(nan=torch.inf)
    use_mask = mask is not None
    mask = mask if use_mask else input.new_zeros(len(input), 1)
    bias = bias if bias is not None else weight.new_zeros(len(weight))
    return (input, weight, offset, mask, bias), use_mask
