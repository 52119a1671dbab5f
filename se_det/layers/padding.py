"""Means over the pixels of an image, without the padding of its batch.

MMDetection normalises images and then pads them with zeros at the bottom and on the right. Unless
a mean is a whole number, no pixel of an image is normalised to zero.
"""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from se_det.errors import UsageError
from se_det.layers.eager import is_eager


class _Batch(threading.local):
    """The images that this thread is computing the maps of."""

    sizes: Tensor | None = None
    edges: tuple[int, int] | None = None
    recalled: bool = False  # by a backward from their maps

    def set(self, sizes: Tensor | None, edges: tuple[int, int] | None, recalled: bool) -> None:
        self.sizes, self.edges, self.recalled = sizes, edges, recalled

    def forget_failed_backward(self) -> None:
        if self.recalled and not _in_backward():
            self.set(None, None, recalled=False)


_batch = _Batch()


def without_padding(forward: Callable, x: Tensor, *others: Any) -> Any:
    """``forward(x, *others)``, within which `sizes_at` knows where the images ``x`` end.

    `sizes_at` also knows it in a backward from the outputs, as activation checkpointing computes
    blocks again there. The outputs of one backward must come from one thread.
    """
    _batch.forget_failed_backward()
    before = _batch.sizes, _batch.edges, _batch.recalled
    # torch.fx cannot iterate over a proxy's shape.
    now = image_sizes(x), (x.shape[-2], x.shape[-1])
    _batch.set(*now, recalled=False)
    try:
        outputs = forward(x, *others)
    finally:
        _batch.set(*before)
    if is_eager(x):
        for output in [outputs] if isinstance(outputs, Tensor) else outputs:
            if output.requires_grad:
                output.register_hook(lambda _: _recall(*now))
    return outputs


def _recall(sizes: Tensor | None, edges: tuple[int, int]) -> None:
    """Know the images again until the end of backward."""
    at_the_end = torch.autograd.Variable._execution_engine.queue_callback
    at_the_end(lambda: _batch.set(None, None, recalled=False))
    _batch.set(sizes, edges, recalled=True)


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def sizes_at(x: Tensor) -> Tensor | None:
    """The rows and columns of each image in a map ``x`` ``(N, C, H, W)``: ``(N, 2)``.

    They are those of the input divided by the stride: an output is in the image if the middle of
    its receptive field is. The stride is the power of two that makes such a map of the input, or,
    if none does, the whole number nearest to the quotient of the sizes.

    Returns:
        None if no image is padded, or outside of `without_padding`.

    Raises:
        UsageError: the map is computed again in a backward that does not start from the outputs.
    """
    _batch.forget_failed_backward()
    if _batch.edges is None and _in_backward():
        raise UsageError(
            'Activation checkpointing computes a block again, but the sizes of the images, which '
            'its squeeze needs, are known only in a backward from the maps that the backbone '
            'returned. Turn it off, or set se_cfg=dict(mask_padding=False).'
        )
    if _batch.sizes is None:
        return None
    edges_of_input, edges_of_map = (
        torch.stack([_batch.sizes.new_full((), edge, dtype=torch.float32) for edge in edges])
        for edges in (_batch.edges, (x.shape[-2], x.shape[-1]))
    )
    quotient = (edges_of_input / edges_of_map).amax(0)
    power = (quotient.log2() - 1e-4).ceil().exp2().round()
    makes_the_map = ((edges_of_input / power).ceil() == edges_of_map).all()
    stride = torch.where(makes_the_map, power, quotient.round())
    return (_batch.sizes / stride).ceil()


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
    if is_eager(x) and (x.is_meta or bool((_any(x[:, :, -1]) & _any(x[..., -1])).all())):
        return None
    largest = x.abs().amax(1)
    return torch.stack([_up_to_last(largest.amax(2)), _up_to_last(largest.amax(1))], 1)


def pixel_shares(sizes: Tensor | None, x: Tensor, dtype: torch.dtype) -> Tensor | None:
    """The share of each pixel of a map in its mean over the image.

    Args:
        sizes: the rows and columns of each image, ``(N, 2)``; None: all.
        x: the map, ``(N, C, H, W)``.
        dtype: of the shares.

    Returns:
        ``(N, 1, H, W)``, with the sum 1 for each image; None: all are equal.
    """
    if sizes is None:
        return None
    inside = _inside(sizes, x).to(dtype)
    return inside / inside.sum((2, 3), keepdim=True)


def channel_means(x: Tensor, shares: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The mean of each channel of ``x`` ``(N, C, H, W)``, by `pixel_shares`; returns ``(N, C)``."""
    if shares is None:
        return x.mean((2, 3), dtype=dtype)
    return (shares.flatten(2) @ x.flatten(2).transpose(1, 2).to(dtype)).flatten(1)


def channel_maxima(x: Tensor, sizes: Tensor | None) -> Tensor:
    """The largest value of each channel of ``x`` ``(N, C, H, W)`` in its image: ``(N, C)``."""
    if sizes is not None:
        x = x.masked_fill(~_inside(sizes, x), -torch.inf)
    return x.amax((2, 3))


def _inside(sizes: Tensor, x: Tensor) -> Tensor:
    """Which pixels of a map are of the image: ``(N, 1, H, W)``."""
    rows, columns = (
        torch.ones_like(line, dtype=torch.long).cumsum(1) <= sizes[:, axis, None]
        for axis, line in enumerate((x[:, 0, :, 0], x[:, 0, 0]))
    )
    return rows[:, None, :, None] & columns[:, None, None]


def _any(x: Tensor) -> Tensor:
    return x.flatten(1).any(1)


def _up_to_last(line: Tensor) -> Tensor:
    """How long a line ``(N, L)`` is up to its last non-zero value, L if all are zero: ``(N,)``."""
    return line.shape[1] - (line != 0).flip(1).int().argmax(1)
