"""Convolutions of a frozen network whose gradient at the images is found faster on a CPU.

What torch does there is made for many input channels: for a network's first layer, with one or
three of them, it takes several times as long as the forward pass; so it does for strided ones.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from benchmark.evaluation.convolution_gradients import by_columns, by_phases, taps_of

FEW = 8
"""Input channels: half the floats of a vector register (AVX-512)."""
SPARE = 32
"""Products with zeros, per tap and summed over output channels, that phases may cost."""


class QuickConv2d(nn.Conv2d):
    """`nn.Conv2d` that answers as it does, bit for bit, and whose gradient takes another way."""

    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        plain = (
            images.device.type != "cpu" or weight.requires_grad or images.dim() != 4
            or not (images.requires_grad and torch.is_grad_enabled())
            or torch._C._are_functorch_transforms_active()
        )  # fmt: skip
        if plain:
            return super()._conv_forward(images, weight, bias)  # type: ignore[no-any-return]
        answered: Tensor = _Convolution.apply(images, weight, bias, self.stride, self.padding)
        return answered


class _Convolution(torch.autograd.Function):
    """The gradient at the images without what torch does for it."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(weight)
        ctx.size, ctx.stride, ctx.padding = images.shape[2:], stride, padding
        return conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        way = by_phases if overlaps(weight.shape, ctx.stride, ctx.padding) else by_columns
        found = way(gradient, weight.to(gradient.dtype), ctx.size, ctx.stride, ctx.padding)
        return found, None, None, None, None


def pays(layer: nn.Conv2d) -> bool:
    """Whether one of the other ways is the faster one.

    Measured (tests/perf/README.md): there they take 0.3 to 0.7 of the time; elsewhere, and with
    more input channels, they take longer. The columns should be fewer numbers than the answers
    with the gaps of the stride.
    """
    usual = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    if not usual or isinstance(layer.padding, str) or layer.in_channels > FEW:
        return False
    columns = layer.weight[0].numel()
    walked = layer.out_channels * prod(layer.stride)
    return columns < walked or overlaps(layer.weight.shape, layer.stride, layer.padding)


def overlaps(weight: torch.Size, strides: tuple[int, ...], paddings: tuple[int, ...]) -> bool:
    """Whether windows of a strided convolution share pixels, and phases pay for summing them up.

    What phases cost more are their products with zeros, for each output channel.
    """
    outputs, channels, *kernels = weight
    if min(strides) == 1 or any(k <= s for k, s in zip(kernels, strides, strict=True)):
        return False
    sizes = zip(kernels, strides, paddings, strict=True)
    made = prod([stride * taps_of(kernel, stride, padding)[0] for kernel, stride, padding in sizes])
    return channels * prod(strides) > FEW and (made / prod(kernels) - 1) * outputs <= SPARE
