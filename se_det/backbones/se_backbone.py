"""What all SE backbones share: MMDetection's class, with SE put into its blocks."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from se_det.backbones.arguments import argument_errors, check_pretrained
from se_det.backbones.se_cfg import SEConfig
from se_det.backbones.whole_state_dict import refuse_what_does_not_fit
from se_det.errors import ArgumentError
from se_det.layers import within_batch
from se_det.mmcv_ops import is_compiled


def with_last_contiguous(maps: Sequence[Tensor]) -> list[Tensor]:
    """The maps that a backbone returns, the last of them contiguous.

    CenterNet's head takes a view of what it computes from the last map. Where mmcv is compiled all
    maps are contiguous, as its CPU operators read them as if they were.
    """
    number = len(maps) if is_compiled() else 1
    return [*maps[:-number], *(x.contiguous() for x in maps[-number:])]


def _arguments(cls: type) -> dict[str, Any]:
    """The arguments of a class, and of those that it passes them on to, with their defaults."""
    found = {}
    for ancestor in cls.__mro__:
        parameters = list(inspect.signature(ancestor.__init__).parameters.values())[1:]
        found |= {
            p.name: p.default
            for p in parameters
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in found
        }
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            break
    return found


class SEBackbone:
    """A mixin before a backbone of MMDetection: its class, arguments and keys, and SE.

    MMDetection's class builds the backbone. Each block that `se_blocks` lists then becomes one of
    a subclass, whose SE is in ``se`` (or in the part of the block that `se_blocks` names).

    Args:
        *args: as the class of MMDetection.
        se_cfg: as in `SEConfig`.
        **kwargs: as the class of MMDetection.

    Raises:
        ArgumentError: an argument is unknown, or ``se_cfg`` does not suit the backbone.
    """

    # Class of a block -> the part of it that gets SE ('' for itself), and its class with SE.
    se_blocks: ClassVar[dict[type[nn.Module], tuple[str, type[nn.Module]]]]
    # Keys of se_cfg that do not start from the defaults of SEConfig.
    se_defaults: ClassVar[dict[str, Any]] = {}
    # What to do with a checkpoint that does not fit.
    misfit_hint = (
        'If it is of a plain detector, graft SE to it: leave load_from out and set\n'
        "model = dict(init_cfg=dict(type='SEPretrained', checkpoint=CHECKPOINT, graft=True))"
    )

    def __init__(self, *args: Any, se_cfg: dict | None = None, **kwargs: Any) -> None:
        self._check_arguments(kwargs)
        with argument_errors(type(self).__name__, kwargs):
            super().__init__(*args, **kwargs)
        self.add_se(se_cfg)

    @property
    def se_stages(self) -> Sequence[str]:
        """The names of the stages, to which ``reduction`` and ``stages`` in ``se_cfg`` refer."""
        return self.res_layers

    def add_se(self, se_cfg: dict | None) -> None:
        """Put SE into the blocks of the stages that ``se_cfg`` gives it."""
        self.se_cfg = SEConfig.read(se_cfg, len(self.se_stages), **self.se_defaults)
        for index, stage in enumerate(self.se_stages):
            if self.se_cfg.reductions[index] is None:
                continue
            for block, with_se in list(self.blocks_for_se(stage)):
                block.__class__ = with_se
                block.add_se(self.se_cfg, index)
        self.mask_padding = self.se_cfg.mask_padding
        self.fused = self.se_cfg.fused
        if hasattr(self, '_freeze_stages'):
            self._freeze_stages()
        self._set_memory_format()
        refuse_what_does_not_fit(self)

    def forward(self, x: Tensor) -> Any:
        """Map images ``(N, 3, H, W)`` to the feature maps of MMDetection's class."""
        return self.compute(super().forward, x)

    def compute(self, forward: Callable, x: Tensor, *others: Any) -> Any:
        """Call a forward of MMDetection's class, ``forward(x, *others)``, with images ``x``.

        Raises:
            ArgumentError: the input has not four dimensions.
        """
        if isinstance(x, Tensor) and x.dim() != 4:
            raise ArgumentError(
                f'A backbone takes images (N, C, H, W); got {tuple(x.shape)}. One image: x[None].'
            )
        x = x.contiguous() if self._has_foreign_layers else x
        maps = within_batch(forward, x, *others) if self.mask_padding else forward(x, *others)
        return maps if isinstance(maps, Tensor) else type(maps)(with_last_contiguous(maps))

    @property
    def fused(self) -> bool | None:
        """Whether blocks take fused paths; None: on a CPU."""
        return self._fused

    @fused.setter
    def fused(self, value: bool | None) -> None:
        self._fused = value
        self._set_in_blocks('fused', value)

    @property
    def mask_padding(self) -> bool:
        """Whether the squeeze leaves out the padding of a batch."""
        return self._mask_padding

    @mask_padding.setter
    def mask_padding(self, value: bool) -> None:
        self._mask_padding = value
        self._set_in_blocks('mask_padding', value)

    def _set_in_blocks(self, option: str, value: bool | None) -> None:
        for module in self.modules():
            if hasattr(module, option) and module is not self:
                setattr(module, option, value)

    def blocks_for_se(self, stage: str) -> Iterator[tuple[nn.Module, type[nn.Module]]]:
        """The blocks of a stage that get SE, or their parts that do, and their classes with SE."""
        for block in self.get_submodule(stage).modules():
            if type(block) in self.se_blocks:
                part, with_se = self.se_blocks[type(block)]
                yield block.get_submodule(part), with_se

    def attentions(self, stage: str) -> list[nn.Module]:
        """The SE blocks of a stage, from the first to the last."""
        return [block.se for block in self.get_submodule(stage).modules() if hasattr(block, 'se')]

    @property
    def layers_before_se(self) -> dict[str, str]:
        """The norm before each SE: names in the state dict."""
        return {
            f'{name}.se': f'{name}.{block.norm_before_se}'
            for name, block in self.named_modules()
            if hasattr(block, 'norm_before_se')
        }

    def _check_arguments(self, kwargs: dict[str, Any]) -> None:
        """Check names and types of the arguments, depth, arch and how weights are named."""
        ours = type(self)
        base = next(cls for cls in ours.__mro__ if not issubclass(cls, SEBackbone))
        known = _arguments(base)
        if unknown := sorted(kwargs.keys() - known.keys()):
            own = [name for name in _arguments(ours) if name not in known]
            raise ArgumentError(
                f'{ours.__name__} has no argument {unknown[0]!r}. It takes {", ".join(own)} and '
                f'those of {base.__name__}: {", ".join(known)}.'
            )
        for name, value in kwargs.items():
            kind = type(known[name])
            if kind in (bool, int, str) and type(value) is not kind:
                raise ArgumentError(
                    f'{ours.__name__}: {name} must be of type {kind.__name__}, such as '
                    f'{known[name]!r}; got {value!r}.'
                )
        settings = list(getattr(ours, 'arch_settings', ()))
        for name in {'depth', 'arch'} & kwargs.keys() if settings else ():
            if not isinstance(kwargs[name], dict) and kwargs[name] not in settings:
                raise ArgumentError(
                    f'{ours.__name__} has {name} {", ".join(map(repr, settings))}; got '
                    f'{name}={kwargs[name]!r}.'
                )
        check_pretrained(ours.__name__, kwargs.get('pretrained'), kwargs.get('init_cfg'))

    @property
    def _has_foreign_layers(self) -> bool:
        """Whether there are operators that may need contiguous maps."""
        options = ('dcn', 'plugins', 'conv_cfg', 'sac')
        return any(getattr(self, name, None) is not None for name in options)

    def _set_memory_format(self) -> None:
        """On a CPU with AVX-512 convolutions are fastest in channels_last.

        Plain ResNet-50 then takes 0.86 to 0.94 of the time of a training step, 0.81 at inference;
        with ``ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2`` 0.96 to 1.02, and 0.95.
        Convolutions compute in the memory format of their weights.
        """
        fastest = self._device == 'cpu' and torch.backends.cpu.get_cpu_capability() == 'AVX512'
        channels_last = fastest and not self._has_foreign_layers
        self.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)

    @property
    def _device(self) -> str | None:
        """The device of the weights, None for a backbone whose parameters were taken away."""
        return next((parameter.device.type for parameter in self.parameters()), None)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        device = self._device
        super()._apply(fn, recurse)
        if self._device != device:
            self._set_memory_format()
        return self
