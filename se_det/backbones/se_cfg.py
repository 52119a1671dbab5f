"""``se_cfg``, the argument of every SE backbone that says what its SE blocks are."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from se_det.backbones.arguments import is_bools, is_int, is_positive_ints
from se_det.errors import ArgumentError
from se_det.layers import ATTENTIONS, DEFAULT_REDUCTION, GATES, SqueezeExcitation

POSITIONS = ('standard', 'pre', 'post', 'identity', '3x3')


@dataclass(frozen=True)
class SEConfig:
    """What a backbone's ``se_cfg`` says.

    Attributes:
        reductions: the paper's r in each stage; None for a stage without SE.
        type: the layer in SE's slot: ``'SE'``; ``'ECA'`` (arXiv 1910.03151); ``'eSE'``
            (1911.06667); ``'CBAM'`` (1807.06521) and ``'GC'`` (1904.11492), which are timm's and
            include the padding of a batch.
        position: of SE in a block (figure 5 and section 6.5 of the paper): ``'standard'``, before
            the addition; ``'pre'``, before the first convolution of the residual branch;
            ``'post'``, after the ReLU that follows the addition; ``'identity'``, in the shortcut;
            ``'3x3'``, after the 3x3 convolution of a bottleneck.
        squeeze: as in `SqueezeExcitation`.
        gate: as in `SqueezeExcitation`.
        relu_before_se: whether a ReLU ends the residual branch, for weights trained so (timm's
            legacy 18 and 34).
        mask_padding: whether the squeeze leaves out the padding of a batch: the rows and columns of
            exact zeros at the bottom and on the right of a normalised image, as MMDetection pads.
            Any other padding counts as part of the image. With it and ``with_cp``, backward has to
            start from the maps that the backbone returned.
        fused: whether one function computes the tail of a block, ``relu(x + SE(norm(v)))``, in less
            time and memory; None: on a CPU. Second derivatives and forward-mode differentiation
            need False.
    """

    reductions: tuple[int | None, ...]
    type: str = 'SE'
    position: str = 'standard'
    squeeze: str | None = 'mean'
    gate: str = 'sigmoid'
    relu_before_se: bool = False
    mask_padding: bool = True
    fused: bool | None = None

    @classmethod
    def read(cls, se_cfg: dict | None, num_stages: int, **defaults: Any) -> 'SEConfig':
        """Read ``se_cfg``: the attributes of this class, and ``reduction`` and ``stages``.

        Args:
            se_cfg: ``reduction``, an int or one per stage; ``stages``, a bool per stage; the other
                attributes of this class; or None.
            num_stages: number of stages of the backbone.
            **defaults: of ``se_cfg`` in a backbone that has other ones; its ``reduction`` is of
                ``type='SE'``.

        Raises:
            ArgumentError: a key is unknown or a value not allowed.
        """
        if not isinstance(se_cfg, dict | None):
            raise ArgumentError(
                f'se_cfg must be a dict with reduction and stages, or None; got {se_cfg!r}.'
            )
        given = se_cfg or {}
        if given.get('type') in ('ECA', 'eSE') and 'reduction' in given:
            raise ArgumentError(f'se_cfg: {given["type"]} has no reduction. Remove reduction.')
        if given.get('type', 'SE') != 'SE':
            defaults = {key: value for key, value in defaults.items() if key != 'reduction'}
        options = {**defaults, **given}
        reduction = options.pop('reduction', DEFAULT_REDUCTION)
        stages = options.pop('stages', (True,) * num_stages)
        known = [name for name in cls.__dataclass_fields__ if name != 'reductions']
        if unknown := sorted(set(options) - set(known)):
            raise ArgumentError(
                f'se_cfg has no key {unknown[0]!r}. It takes reduction (default '
                f'{DEFAULT_REDUCTION}), stages (default all), {", ".join(known)}: '
                'se_cfg=dict(reduction=16, stages=(True, True, True, True)).'
            )
        reductions = [reduction] * num_stages if is_int(reduction) else reduction
        if not is_positive_ints(reductions, num_stages):
            raise ArgumentError(
                f'se_cfg: reduction must be a positive int, or a sequence of num_stages='
                f'{num_stages} of them; got {reduction!r}.'
            )
        if not is_bools(stages, num_stages):
            raise ArgumentError(
                f'se_cfg: stages must be a sequence of num_stages={num_stages} bools; got '
                f'{stages!r}.'
            )
        found = cls(
            tuple(r if with_se else None for r, with_se in zip(reductions, stages, strict=True)),
            **options,
        )
        found._check()
        return found

    def _check(self) -> None:
        for key, allowed in (
            ('type', [*ATTENTIONS]),
            ('position', [*POSITIONS]),
            ('squeeze', ['mean', 'max', None]),
            ('gate', [*GATES]),
            ('relu_before_se', [True, False]),
            ('mask_padding', [True, False]),
            ('fused', [True, False, None]),
        ):
            value = getattr(self, key)
            if (type(value), value) not in [(type(choice), choice) for choice in allowed]:
                *first, last = map(repr, allowed)
                raise ArgumentError(
                    f'se_cfg: {key} must be {", ".join(first)} or {last}; got {value!r}.'
                )
        if self.type != 'SE' and (self.squeeze, self.gate) != ('mean', 'sigmoid'):
            raise ArgumentError(
                f"se_cfg: squeeze and gate are those of type='SE'; got type={self.type!r}."
            )

    def layer(self, channels: int, stage: int, reduced: int | None = None) -> nn.Module:
        """Build the layer for a block with so many channels.

        Args:
            channels: C.
            stage: index of the block's stage, one with SE.
            reduced: the channels that the reduction divides; default C.

        Raises:
            UsageError: timm is missing.
        """
        reduction = self.reductions[stage]
        if self.type != 'SE':
            return ATTENTIONS[self.type](channels, reduction)
        hidden = -(-(reduced or channels) // reduction)
        return SqueezeExcitation(channels, reduction, self.squeeze, self.gate, hidden)
