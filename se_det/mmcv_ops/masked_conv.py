"""Convolution at selected output positions only."""

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Gather the windows of a convolution of stride 1 at selected positions, into ``col``.

    Args:
        im: features of one image, ``(1, C, H, W)``.
        mask_h_idx: row of each position in the convolution's output, ``(M,)`` int64.
        mask_w_idx: its column.
        col: ``(C * kernel_h * kernel_w, M)``.
        kernel_h: kernel height; ``kernel_w`` its width.
        kernel_w: see ``kernel_h``.
        pad_h: zero padding at top and bottom; ``pad_w`` left and right.
        pad_w: see ``pad_h``.
    """
    # Padded by a whole kernel: even without padding, mmcv allows positions at every pixel.
    padded = F.pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows, columns].view_as(col))


def masked_col2im_forward(
    col: Tensor, mask_h_idx: Tensor, mask_w_idx: Tensor, im: Tensor, **shape: int
) -> None:
    """Write values to selected positions of ``im``; the others keep their values.

    Args:
        col: ``(channels, M)``.
        mask_h_idx: row of each position, ``(M,)`` int64.
        mask_w_idx: its column.
        im: ``(1, channels, height, width)``.
        **shape: of ``im``, by these names; not used.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col
