"""1x1 convolutions that torch has not: with a gate of its own for each image; across layouts.

With the gate in its weight, a convolution has a weight of its own for each image, and is a batch of
matrix products. Where a CPU makes a new map anyhow, the gate goes in as the identity is added, and
one weight does for all images. The way back asks for the gradient of each image's weight; where the
channels lie last, a CPU is faster at convolving image by image there.
"""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import chooses_layout, laid_like, lies_last


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
    if chooses_layout(u) and not (kernels or spare):
        # Its output has to be made anyhow: the gate costs nothing as the identity is added.
        y = F.conv2d(u, weight[..., None, None].to(u.dtype), shift.to(u.dtype))
        return torch.addcmul(identity, y, gate[..., None, None].to(u.dtype), out=y).relu_()
    gated_weight, gated_shift = gated(weight, gate, u.dtype), gate * shift
    if kernels:
        y = torch.empty_like(identity).flatten(2)
        y = y.baddbmm_(gated_weight, u.flatten(2), beta=0).unflatten(2, u.shape[2:])
        return kernels.scale_add_relu(y, bias=gated_shift, identity=identity, in_place=True)
    gated_shift = gated_shift[..., None, None].to(u.dtype)
    y = identity.add_(gated_shift) if spare else laid_like(u, identity) + gated_shift
    y.view(*y.shape[:2], u.shape[2] * u.shape[3]).baddbmm_(gated_weight, u.flatten(2))
    return y.relu_()


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
    shape = gradient.shape[1], u.shape[1], 1, 1
    images = zip(u.split(1), gradient.split(1), strict=True)
    return _batch([conv2d_weight(x, shape, g).view(1, *shape[:2]) for x, g in images])


def input_gradient(gradient: Tensor, u: Tensor, weight: Tensor, mean_gradient: Tensor) -> Tensor:
    """The gradient of ``u``, of the products and of what its mean is used for.

    Args:
        gradient: of the products, ``(N, C, H, W)``.
        u: ``(N, K, H, W)``.
        weight: with the gate in it, ``(N, C, K)``, in the precision of ``u``.
        mean_gradient: for each pixel, ``(N, K)``.

    Returns:
        ``(N, K, H, W)``.
    """
    mean_gradient = mean_gradient.to(u.dtype)
    if _image_by_image(u):
        images = zip(gradient.split(1), weight[..., None, None], mean_gradient, strict=True)
        return _batch([F.conv_transpose2d(*image) for image in images])
    u_gradient = torch.empty_like(u)
    u_gradient.flatten(2).baddbmm_(weight.transpose(1, 2), gradient.flatten(2), beta=0)
    return u_gradient.add_(mean_gradient[..., None, None])


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
    return chooses_layout(u) and lies_last(u)


def _batch(images: list[Tensor]) -> Tensor:
    return images[0] if len(images) == 1 else torch.cat(images)


def _products(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.dtype == dtype:
        return left.bmm(right)
    if left.is_cuda and torch.__version__ >= (2, 8):
        return torch.bmm(left, right, out_dtype=dtype)
    return left.to(dtype).bmm(right.to(dtype))
