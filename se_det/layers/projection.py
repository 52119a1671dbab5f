"""A 1x1 convolution with a weight of its own for each image, and the way back through it.

torch has no such convolution. It is a batch of matrix products; but where the channels lie last, a
CPU is faster at convolving image by image.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from se_det.layers.kernels import kernels_for
from se_det.layers.memory_format import lies_last


def project(u: Tensor, weight: Tensor, shift: Tensor, identity: Tensor) -> Tensor:
    """``relu(identity + weight u + shift)``.

    Args:
        u: ``(N, K, H, W)``.
        weight: ``(N, C, K)``, in the precision of ``u``.
        shift: ``(N, C)``.
        identity: ``(N, C, H, W)``.

    Returns:
        ``(N, C, H, W)``.
    """
    if kernels := kernels_for(u):
        y = torch.empty_like(identity).flatten(2)
        y = y.baddbmm_(weight, u.flatten(2), beta=0).unflatten(2, u.shape[2:])
        return kernels.scale_add_relu(y, bias=shift, identity=identity, in_place=True)
    shift = shift.to(u.dtype)
    if not _image_by_image(u):
        y = (identity + shift[:, :, None, None]).flatten(2)
        return y.baddbmm_(weight, u.flatten(2)).relu_().unflatten(2, u.shape[2:])
    images = zip(u.split(1), weight[..., None, None], shift, strict=True)
    if len(u) == 1:
        return F.conv2d(*next(images)).add_(identity).relu_()
    y = torch.empty_like(identity)
    for image, x, out in zip(images, identity.split(1), y.split(1), strict=True):
        torch.add(F.conv2d(*image), x, out=out).relu_()
    return y


def project_backward(
    gradient: Tensor, u: Tensor, weight: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The gradients of ``weight u``.

    Args:
        gradient: of the product, ``(N, C, H, W)``.
        u: ``(N, K, H, W)``.
        weight: ``(N, C, K)``, in the precision of ``u``.
        dtype: a precision in which the sums of the weight's gradient cannot overflow.

    Returns:
        The gradient of ``u``, in its precision, and of ``weight``, in ``dtype``.
    """
    if u.dtype == dtype and _image_by_image(u):
        images = zip(gradient.split(1), u.split(1), weight[..., None, None], strict=True)
        u_gradients, weight_gradients = zip(*(_convolve_backward(*i) for i in images), strict=True)
        if len(u) == 1:
            return u_gradients[0], weight_gradients[0].flatten(1)[None]
        return torch.cat(u_gradients), torch.stack(weight_gradients).flatten(2)
    pixels = gradient.flatten(2)
    u_gradient = torch.empty_like(u).flatten(2).baddbmm_(weight.transpose(1, 2), pixels, beta=0)
    weight_gradient = _products(pixels, u.flatten(2).transpose(1, 2), dtype)
    return u_gradient.unflatten(2, u.shape[2:]), weight_gradient


def _image_by_image(u: Tensor) -> bool:
    return u.device.type == 'cpu' and lies_last(u) and not torch.compiler.is_compiling()


def _convolve_backward(gradient: Tensor, image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    image_gradient, weight_gradient, _ = torch.ops.aten.convolution_backward(
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
        output_mask=(True, True, False),
    )
    return image_gradient, weight_gradient


def _products(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    if left.dtype == dtype:
        return left.bmm(right)
    if left.is_cuda and torch.__version__ >= (2, 8):
        return torch.bmm(left, right, out_dtype=dtype)
    return left.to(dtype).bmm(right.to(dtype))
