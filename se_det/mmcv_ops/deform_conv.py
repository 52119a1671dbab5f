"""Deformable convolution, versions 1 and 2.

mmcv passes the geometry by name: the stride, zero padding and dilation along each axis, the groups
of channels in the convolution, and those that share an offset. The kernel has the weight's shape.
``columns``, ``ones`` and ``im2col_step`` are scratch space of mmcv's kernels, not used.
"""

from operator import itemgetter

import torch
import torch.nn.functional as F
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor

# What torchvision's kernels take, from the names of version 1 and of version 2.
_geometry_1 = itemgetter(
    *('dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group')
)
_geometry_2 = itemgetter(
    *('stride_h', 'stride_w', 'pad_h', 'pad_w', 'dilation_h', 'dilation_w'),
    *('group', 'deformable_group'),
)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Deformable convolution (arXiv 1703.06211), written into ``output``.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(O, C / group, kH, kW)``.
        offset: ``(N, 2 * deformable_group * kH * kW, H', W')``, alternately y and x, in pixels.
        output: ``(N, O, H', W')``.
        columns: not used, like ``ones``.
        ones: not used.
        **geometry: see above.
    """
    output.copy_(_deform_conv(input, weight, offset, None, None, _geometry_1(geometry)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Gradient of `deform_conv_forward`, added to ``gradInput`` and ``gradOffset``."""
    inputs = input, weight, offset, None, None
    grads = _deform_conv_backward(gradOutput, *inputs, _geometry_1(geometry))
    gradInput += grads[0]
    gradOffset += grads[2]


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    scale: float,
    **geometry: int,
) -> None:
    """Gradient of `deform_conv_forward` by its weight, times ``scale``, added to ``gradWeight``."""
    inputs = input, gradWeight, offset, None, None
    gradWeight += scale * _deform_conv_backward(gradOutput, *inputs, _geometry_1(geometry))[1]


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Deformable convolution v2 (arXiv 1811.11168, equation 1), written into ``output``.

    Args:
        input: ``(N, C, H, W)``.
        weight: ``(O, C / group, kernel_h, kernel_w)``.
        bias: ``(O,)``, not read unless ``with_bias``.
        ones: not used, like ``columns``.
        offset: ``(N, 2 * deformable_group * kernel_h * kernel_w, H', W')``, alternately y and x.
            May be larger, like the mask: see `_first_values`.
        mask: ``(N, deformable_group * kernel_h * kernel_w, H', W')``, the modulation.
        output: ``(N, O, H', W')``.
        columns: not used.
        with_bias: whether to add ``bias``.
        **geometry: see above.
    """
    bias = bias if with_bias else None
    offset, mask = (_first_values(tensor, output.shape[2:]) for tensor in (offset, mask))
    output.copy_(_deform_conv(input, weight, offset, mask, bias, _geometry_2(geometry)))


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
    with_bias: bool,
    **geometry: int,
) -> None:
    """Gradient of `modulated_deform_conv_forward`, added to the five ``grad_`` tensors."""
    bias = bias if with_bias else None
    offset, mask = (_first_values(tensor, grad_output.shape[2:]) for tensor in (offset, mask))
    inputs = input, weight, offset, mask, bias
    grads = _deform_conv_backward(grad_output, *inputs, _geometry_2(geometry))
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
