"""Triton kernels: passes over whole feature maps, one where torch takes two to four.

Each reads and writes maps in their own precision and computes in float32 (float64 for float64).
Maps are contiguous or channels_last; a map in another memory format than the first is copied.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from se_det.layers.precision import vector_dtype

ELEMENTS = 2048  # of a map, for each program


def scale_add_relu_(x: Tensor, scale: Tensor, identity: Tensor) -> Tensor:
    """As `se_det.layers.maps.scale_add_relu_`."""
    layout = _Layout(x)
    layout.launch(_scale_add_relu, x, scale.contiguous(), layout.of(identity))
    return x


def relu_backward(
    gradient: Tensor, y: Tensor, factor: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """As `se_det.layers.maps.relu_backward`."""
    layout = _Layout(y)
    passed = torch.empty_like(y)
    blocks = (layout.pixel_blocks, *y.shape[:2])
    sums = y.new_empty(blocks, dtype=layout.precision)
    products = None if factor is None else torch.empty_like(sums)
    factor = None if factor is None else layout.of(factor)
    layout.launch(_relu_backward, passed, sums, products, layout.of(gradient), y, factor)
    return passed, sums.sum(0), None if products is None else products.sum(0)


class _Layout:
    """The grid of programs over a map: each computes a tile of channels and pixels of one image."""

    def __init__(self, x: Tensor) -> None:
        images, channels, height, width = x.shape
        pixels = height * width
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            self._memory_format = torch.channels_last
            channel_stride, pixel_stride = 1, channels
            channel_block = min(64, triton.next_power_of_2(channels))
            pixel_block = ELEMENTS // channel_block
        else:
            self._memory_format = torch.contiguous_format
            channel_stride, pixel_stride = pixels, 1
            pixel_block = min(ELEMENTS, triton.next_power_of_2(pixels))
            channel_block = min(ELEMENTS // pixel_block, triton.next_power_of_2(channels))
        self.precision = vector_dtype(x)
        self.pixel_blocks = triton.cdiv(pixels, pixel_block)
        self._grid = self.pixel_blocks, triton.cdiv(channels, channel_block), images
        self._strides = channels, pixels, channel_stride, pixel_stride
        self._constants = dict(
            CHANNEL_BLOCK=channel_block,
            PIXEL_BLOCK=pixel_block,
            PRECISION=tl.float64 if self.precision is torch.float64 else tl.float32,
        )

    def of(self, x: Tensor) -> Tensor:
        """``x`` in this memory format."""
        return x.contiguous(memory_format=self._memory_format)

    def launch(self, kernel: triton.runtime.KernelInterface, out: Tensor, *arguments: Any) -> None:
        with torch.cuda.device_of(out):
            kernel[self._grid](out, *arguments, *self._strides, **self._constants)


@triton.jit
def _tile(
    channels,
    pixels,
    channel_stride,
    pixel_stride,
    CHANNEL_BLOCK: tl.constexpr,
    PIXEL_BLOCK: tl.constexpr,
):
    """The channels, the offsets in the map and which of them are inside, of this program."""
    image = tl.program_id(2).to(tl.int64)
    c = tl.program_id(1) * CHANNEL_BLOCK + tl.arange(0, CHANNEL_BLOCK)
    p = tl.program_id(0) * PIXEL_BLOCK + tl.arange(0, PIXEL_BLOCK)
    offsets = c[:, None].to(tl.int64) * channel_stride + p[None, :].to(tl.int64) * pixel_stride
    inside = (c[:, None] < channels) & (p[None, :] < pixels)
    return image, c, image * channels * pixels + offsets, inside


@triton.jit
def _scale_add_relu(
    x,
    scale,
    identity,
    channels,
    pixels,
    channel_stride,
    pixel_stride,
    CHANNEL_BLOCK: tl.constexpr,
    PIXEL_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    image, c, offsets, inside = _tile(
        channels, pixels, channel_stride, pixel_stride, CHANNEL_BLOCK, PIXEL_BLOCK
    )
    value = tl.load(x + offsets, mask=inside).to(PRECISION)
    value *= tl.load(scale + image * channels + c, mask=c < channels).to(PRECISION)[:, None]
    value += tl.load(identity + offsets, mask=inside).to(PRECISION)
    # NaN stays NaN, as in torch.
    value = tl.where(value < 0, 0, value)
    tl.store(x + offsets, value.to(x.dtype.element_ty), mask=inside)


@triton.jit
def _relu_backward(
    passed,
    sums,
    products,
    gradient,
    y,
    factor,
    channels,
    pixels,
    channel_stride,
    pixel_stride,
    CHANNEL_BLOCK: tl.constexpr,
    PIXEL_BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    image, c, offsets, inside = _tile(
        channels, pixels, channel_stride, pixel_stride, CHANNEL_BLOCK, PIXEL_BLOCK
    )
    output = tl.load(y + offsets, mask=inside, other=0).to(PRECISION)
    value = tl.load(gradient + offsets, mask=inside, other=0).to(PRECISION)
    value = tl.where(output <= 0, 0, value)
    tl.store(passed + offsets, value.to(passed.dtype.element_ty), mask=inside)
    image_of_block = tl.program_id(0).to(tl.int64) * tl.num_programs(2) + image
    vector = image_of_block * channels + c
    tl.store(sums + vector, tl.sum(value, axis=1), mask=c < channels)
    if factor is not None:
        value *= tl.load(factor + offsets, mask=inside, other=0).to(PRECISION)
        tl.store(products + vector, tl.sum(value, axis=1), mask=c < channels)
