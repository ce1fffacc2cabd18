"""Convolutions of a frozen network whose gradient at the images is found faster on a CPU.

What torch does there is made for many input channels: for a network's first layer, with one or
three of them, it takes several times as long as the forward pass; so it does for strided ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, fold

FEW = 8
"""Input channels: half the floats of a vector register (AVX-512)."""


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
    """The gradient at the images as one product, and a sum of what meets in a pixel."""

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
        columns = weight.to(gradient.dtype).flatten(1).t() @ gradient.flatten(2)
        kernel = weight.shape[2:]
        found = fold(columns, ctx.size, kernel, padding=ctx.padding, stride=ctx.stride)
        return found, None, None, None, None


def quicken(model: nn.Module) -> nn.Module:
    """Make the convolutions of `model` quick where that pays; parameters and names stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and pays(module):
            module.__class__ = QuickConv2d
    return model


def pays(layer: nn.Conv2d) -> bool:
    """Whether the columns are fewer numbers than the answers with the gaps of the stride.

    Measured (tests/perf/README.md): there the product takes 0.3 to 0.7 of the time; elsewhere,
    and with more input channels, it takes longer.
    """
    columns = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    walked = layer.out_channels * layer.stride[0] * layer.stride[1]
    usual = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    said = isinstance(layer.padding, str)  # "same" or "valid"
    return usual and not said and layer.in_channels <= FEW and columns < walked
