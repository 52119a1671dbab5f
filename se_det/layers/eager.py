"""Whether Python sees the values of a tensor."""

import torch
from torch import Tensor, nn


def is_eager(x: Tensor) -> bool:
    """Whether ``x`` is not compiled, exported, traced, captured or transformed."""
    return (
        type(x) in (Tensor, nn.Parameter)
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not (x.is_cuda and torch.cuda.is_current_stream_capturing())
    )
