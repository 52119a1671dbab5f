"""RoI pooling: the maximum of each bin."""

import torch
import torchvision.ops  # noqa: F401  (registers the kernels used below as torch.ops.torchvision)
from torch import Tensor


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoI max pooling (arXiv 1504.08083, section 2.1), written into ``output``.

    Args:
        input: features, ``(N, C, H, W)``.
        rois: ``(K, 5)``, image index, then x1, y1, x2, y2 in image pixels, the last ones included.
        output: ``(K, C, pooled_height, pooled_width)``; 0 for bins without a pixel.
        argmax: shape of ``output``, int32; overwritten with the index of the maximum in its feature
            map, -1 for bins without a pixel.
        pooled_height: rows of bins.
        pooled_width: columns of bins.
        spatial_scale: feature pixels per image pixel.
    """
    size = rois.new_tensor([pooled_width, pooled_height])
    start, end = rois[:, 1:3] * spatial_scale, (rois[:, 3:] + 1) * spatial_scale
    extent = end - start
    rows = torch.arange(pooled_height, device=rois.device)
    columns = torch.arange(pooled_width, device=rois.device)
    # torchvision rounds a whole RoI to pixels, mmcv each bin. So each bin becomes a RoI.
    bins = torch.stack(torch.meshgrid(columns, rows, indexing='xy'), dim=-1)
    start, pitch = start[:, None, None], (extent / size)[:, None, None]
    limits = rois.new_tensor(input.shape[:1:-1])
    first = (bins * pitch + start).floor().clamp(min=0).minimum(limits)
    past_last = ((bins + 1) * pitch + start).ceil().clamp(min=0).minimum(limits)
    image = rois[:, :1, None, None].expand(-1, *bins.shape[:2], 1)
    bin_rois = torch.cat([image, first, past_last - 1], dim=-1).flatten(0, 2)
    holds_pixels = (past_last > first).all(-1) & (extent > 0).all(-1)[:, None, None]

    def by_bin(values: Tensor) -> Tensor:
        return values.view(*holds_pixels.shape, input.shape[1]).movedim(-1, 1)

    values, index = torch.ops.torchvision.roi_pool(input, bin_rois, 1.0, 1, 1)
    output.copy_(by_bin(values).where(holds_pixels[:, None], 0))
    argmax.copy_(by_bin(index).where(holds_pixels[:, None], -1))


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Gradient of `roi_pool_forward` by its input, added to ``grad_input`` ``(N, C, H, W)``."""
    grad_input += torch.ops.torchvision._roi_pool_backward(
        grad_output, rois, argmax, spatial_scale, pooled_height, pooled_width, *grad_input.shape
    )
