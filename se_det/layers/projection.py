"""1x1 convolutions that torch has not: with a gate of its own for each image; across layouts.

With the gate in its weight, a convolution has a weight of its own for each image, and is a batch of
matrix products. Where a CPU makes a new map anyhow, the gate goes in as the identity is added, and
one weight does for all images. The way back asks for the gradient of each image's weight; where the
channels lie last, a CPU is faster at convolving image by image there.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import lies_last


def project(
    u: Tensor, weight: Tensor, shift: Tensor, gate: Tensor, identity: Tensor, spare: bool
) -> Tensor:
    """``relu(identity + gate * (weight u + shift))``.

    Args:
        u: ``(N, K, H, W)``.
        weight: ``(C, K)``.
        shift: ``(C,)``.
        gate: ``(N, C)``.
        identity: ``(N, C, H, W)``.
        spare: whether the result may take the place of the identity.

    Returns:
        ``(N, C, H, W)``: the identity itself, where it has taken its place.
    """
    kernels = kernels_for(u)
    if u.device.type == 'cpu' and not (spare or kernels or torch.compiler.is_compiling()):
        # Its output has to be made anyhow: the gate costs nothing as the identity is added.
        y = F.conv2d(u, weight[..., None, None].to(u.dtype), shift.to(u.dtype))
        return torch.addcmul(identity, y, gate[..., None, None].to(u.dtype), out=y).relu_()
    weight, shift = gated(weight, gate, u.dtype), gate * shift
    if kernels:
        y = torch.empty_like(identity).flatten(2)
        y = y.baddbmm_(weight, u.flatten(2), beta=0).unflatten(2, u.shape[2:])
        return kernels.scale_add_relu(y, bias=shift, identity=identity, in_place=True)
    shift = shift[..., None, None].to(u.dtype)
    if spare:
        pixels = identity.add_(shift).view(*identity.shape[:2], u.shape[2] * u.shape[3])
        pixels.baddbmm_(weight, u.flatten(2))
        return identity.relu_()
    y = (identity + shift).flatten(2)
    return y.baddbmm_(weight, u.flatten(2)).relu_().unflatten(2, u.shape[2:])


def gated(weight: Tensor, gate: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight ``(C, K)`` of each image, ``(N, C, K)``: its rows times a gate ``(N, C)``."""
    return (gate.unsqueeze(2) * weight).to(dtype)


def weight_gradients(gradient: Tensor, u: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient of each image's weight.

    Args:
        gradient: of the products, ``(N, C, H, W)``.
        u: ``(N, K, H, W)``.
        dtype: a precision in which its sums cannot overflow.

    Returns:
        ``(N, C, K)``, in ``dtype``.
    """
    if u.dtype != dtype or not _image_by_image(u):
        return _products(gradient.flatten(2), u.flatten(2).transpose(1, 2), dtype)
    weight = u.new_empty(gradient.shape[1], u.shape[1], 1, 1)
    images = zip(gradient.split(1), u.split(1), strict=True)
    gradients = [_convolve_backward(*image, weight, (False, True, False))[1] for image in images]
    return torch.stack(gradients).flatten(2) if len(u) > 1 else gradients[0].flatten(1)[None]


def input_gradient(gradient: Tensor, u: Tensor, weight: Tensor, mean_gradient: Tensor) -> Tensor:
    """The gradient of ``u``, of the products and of what its mean is used for.

    Args:
        gradient: of the products, ``(N, C, H, W)``.
        u: ``(N, K, H, W)``.
        weight: ``(N, C, K)``, in the precision of ``u``.
        mean_gradient: for each pixel, ``(N, K)``.

    Returns:
        ``(N, K, H, W)``.
    """
    mean_gradient = mean_gradient[..., None, None].to(u.dtype)
    if not _image_by_image(u):
        u_gradient = torch.empty_like(u).flatten(2)
        u_gradient.baddbmm_(weight.transpose(1, 2), gradient.flatten(2), beta=0)
        return u_gradient.unflatten(2, u.shape[2:]).add_(mean_gradient)
    images = zip(gradient.split(1), u.split(1), weight[..., None, None], strict=True)
    gradients = (_convolve_backward(*image, (True, False, False))[0] for image in images)
    if len(u) == 1:
        return next(gradients).add_(mean_gradient)
    u_gradient = torch.empty_like(u)
    for out, image, mean in zip(u_gradient.split(1), gradients, mean_gradient, strict=True):
        torch.add(image, mean, out=out)
    return u_gradient


def project_to_last(x: Tensor, weight: Tensor, shift: Tensor) -> Tensor:
    """``weight x + shift`` with its channels last, of a contiguous ``x`` that is not laid out anew.

    Args:
        x: ``(N, K, H, W)``.
        weight: ``(C, K)``.
        shift: ``(C,)``.

    Returns:
        ``(N, C, H, W)``.
    """
    shape = len(x), len(weight), *x.shape[2:]
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    for image, pixels in zip(x.flatten(2), y.flatten(2), strict=True):
        torch.addmm(shift, image.t(), weight.t(), out=pixels.t())
    return y


def _image_by_image(u: Tensor) -> bool:
    return u.device.type == 'cpu' and lies_last(u) and not torch.compiler.is_compiling()


def _convolve_backward(
    gradient: Tensor, image: Tensor, weight: Tensor, needed: tuple[bool, bool, bool]
) -> tuple[Tensor, ...]:
    return torch.ops.aten.convolution_backward(
        gradient,
        image,
        weight,
        bias_sizes=None,
        stride=(1, 1),
        padding=(0, 0),
        dilation=(1, 1),
        transposed=False,
        output_padding=(0, 0),
        groups=1,
        output_mask=needed,
    )


def _products(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.dtype == dtype:
        return left.bmm(right)
    if left.is_cuda and torch.__version__ >= (2, 8):
        return torch.bmm(left, right, out_dtype=dtype)
    return left.to(dtype).bmm(right.to(dtype))
