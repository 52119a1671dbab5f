"""From any MMDetection config to its SE twin: the same detector with SE in its backbone."""

from se_det.swap.child_config import write_twin
from se_det.swap.twin import NothingToSwap, swap_backbone

__all__ = ['NothingToSwap', 'swap_backbone', 'write_twin']
