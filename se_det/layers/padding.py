"""The padding of a batch, which a squeeze leaves out.

MMDetection normalises images and then pads them with zeros at the bottom and on the right. Unless
a mean is a whole number, no pixel of an image is normalised to zero.
"""

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from se_det.errors import UsageError


class Padding:
    """The padding of a map.

    Args:
        sizes: the rows and columns of each image, ``(N, 2)``.
        x: the map, ``(N, C, H, W)``.
    """

    def __init__(self, sizes: Tensor, x: Tensor) -> None:
        self.sizes = sizes.float()
        self._lines = torch.empty_like(x[:, 0, :, 0]), torch.empty_like(x[:, 0, 0])  # x is not kept
        self._found: tuple[Tensor, Tensor] | None = None  # torch.compile knows no cached_property

    @property
    def mask(self) -> Tensor:
        """Which pixels are padding, ``(N, 1, H, W)`` of bool."""
        return self._find()[0]

    @property
    def pixels(self) -> Tensor:
        """The number of pixels of each image in the map, ``(N, 1, 1, 1)`` of float32."""
        return self._find()[1]

    def _find(self) -> tuple[Tensor, Tensor]:
        if self._found is None:
            rows, columns = (
                torch.ones_like(line, dtype=torch.long).cumsum(1) <= self.sizes[:, axis, None]
                for axis, line in enumerate(self._lines)
            )
            rows, columns = rows[:, None, :, None], columns[:, None, None]
            pixels = rows.sum(2, keepdim=True) * columns.sum(3, keepdim=True)
            self._found = ~(rows & columns), pixels.float()
        return self._found


class _Images(NamedTuple):
    """A batch of images: their sizes, the edges of the batch, and the padding by size of a map."""

    sizes: Tensor | None
    edges: tuple[int, int]
    paddings: dict[tuple[int, int], Padding]


class _Batch(threading.local):
    """The images that this thread is computing the maps of."""

    # In __init__: torch.compile fails where an attribute of the class becomes one of the instance.
    def __init__(self) -> None:
        self.images: _Images | None = None
        self.recalled = False  # by a backward from their maps

    def set(self, images: _Images | None, recalled: bool = False) -> None:
        self.images, self.recalled = images, recalled

    def forget_failed_backward(self) -> None:
        if self.recalled and not _in_backward():
            self.set(None)


_batch = _Batch()


def is_eager(x: Tensor) -> bool:
    """Whether ``x`` is not compiled, exported, traced, captured or transformed."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not (x.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def within_batch(forward: Callable, x: Tensor, *others: Any) -> Any:
    """``forward(x, *others)``, within which `padding_of` knows where the images ``x`` end.

    `padding_of` also knows it in a backward from the outputs, as activation checkpointing computes
    blocks again there. The outputs of one backward must come from one thread.
    """
    _batch.forget_failed_backward()
    before = _batch.images, _batch.recalled
    # torch.fx cannot iterate over a proxy's shape.
    now = _Images(image_sizes(x), (x.shape[-2], x.shape[-1]), {})
    _batch.set(now)
    try:
        outputs = forward(x, *others)
    finally:
        _batch.set(*before)
    if is_eager(x):
        for output in [outputs] if isinstance(outputs, Tensor) else outputs:
            if output.requires_grad:
                output.register_hook(lambda _: _recall(now))
    return outputs


def _recall(images: _Images) -> None:
    """Know the images again until the end of backward."""
    torch.autograd.Variable._execution_engine.queue_callback(lambda: _batch.set(None))
    _batch.set(images, recalled=True)


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def padding_of(x: Tensor) -> Padding | None:
    """The padding of a map ``x`` ``(N, C, H, W)``, found once for each size of a map.

    An image has as many rows and columns as in the input, divided by the stride: an output is in
    the image if the middle of its receptive field is. The stride is the power of two that makes
    such a map of the input, or, if none does, the whole number nearest to the quotient of the
    sizes.

    Returns:
        None if no image is padded, or outside of `within_batch`.

    Raises:
        UsageError: the map is computed again in a backward that does not start from the outputs.
    """
    _batch.forget_failed_backward()
    if _batch.images is None and _in_backward():
        raise UsageError(
            'Activation checkpointing computes a block again, but the sizes of the images, which '
            'its squeeze needs, are known only in a backward from the maps that the backbone '
            'returned. Turn it off, or set se_cfg=dict(mask_padding=False).'
        )
    images = _batch.images
    if images is None or images.sizes is None:
        return None
    if not is_eager(x):  # the compiler removes what is computed twice
        return Padding(_sizes_in(x, images), x)
    size = x.shape[2:]
    if size not in images.paddings:
        images.paddings[size] = Padding(_sizes_in(x, images), x)
    return images.paddings[size]


def _sizes_in(x: Tensor, images: _Images) -> Tensor:
    """The rows and columns of each image of the batch in a map ``x``, ``(N, 2)``."""
    edges = *images.edges, x.shape[-2], x.shape[-1]
    stride = _known_stride(*edges) if is_eager(x) else _stride(images.sizes.new_full, edges)
    return (images.sizes / stride).ceil()


@lru_cache
def _known_stride(*edges: int) -> float:
    return _stride(torch.full, edges).item()


def _stride(full: Callable, edges: tuple[int, ...]) -> Tensor:
    """The stride between the edges of the input and those of a map, without control flow."""
    filled = [full((), edge, dtype=torch.float32) for edge in edges]
    of_input, of_map = torch.stack(filled).view(2, 2)
    quotient = (of_input / of_map).amax(0)
    power = (quotient.log2() - 1e-4).ceil().exp2().round()
    makes_the_map = ((of_input / power).ceil() == of_map).all()
    return torch.where(makes_the_map, power, quotient.round())


def image_sizes(x: Tensor) -> Tensor | None:
    """Find where the images of a padded batch end: at the last row and column that are not zero.

    An image that is zero all over counts as not padded.

    Args:
        x: normalised images, ``(N, C, H, W)``.

    Returns:
        The rows and columns of each image, ``(N, 2)``. None if no image is padded, or on the meta
        device. Where ``x`` is not computed eagerly its values are not known, so never None.
    """
    x = x.detach()
    if is_eager(x) and (
        x.is_meta or bool((x[:, :, -1].any((1, 2)) & x[..., -1].any((1, 2))).all())
    ):
        return None
    pixels = (x != 0).any(1)
    return torch.stack([_up_to_last(pixels.any(2)), _up_to_last(pixels.any(1))], 1)


def channel_means(x: Tensor, padding: Padding | None, dtype: torch.dtype) -> Tensor:
    """The mean of each channel of ``x`` ``(N, C, H, W)`` over its image: ``(N, C, 1, 1)``."""
    if padding is None:
        return x.mean((2, 3), keepdim=True, dtype=dtype)
    sums = x.masked_fill(padding.mask, 0).sum((2, 3), keepdim=True, dtype=dtype)
    return sums / padding.pixels


def channel_maxima(x: Tensor, padding: Padding | None) -> Tensor:
    """The maximum of each channel of ``x`` ``(N, C, H, W)`` over its image: ``(N, C, 1, 1)``."""
    inside = x if padding is None else x.masked_fill(padding.mask, -torch.inf)
    return inside.amax((2, 3), keepdim=True)


def _up_to_last(line: Tensor) -> Tensor:
    """How long a line ``(N, L)`` of bool is up to its last True, L if there is none: ``(N,)``."""
    return line.shape[1] - line.flip(1).int().argmax(1)
