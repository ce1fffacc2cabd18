"""Layers of a network that are faster on a CPU: same class below, same names and weights.

Convolutions are in `benchmark.evaluation.quick_convolution`. Linear layers: the products of torch's
own go through MKL, which leaves half of the vector unit of other makers' processors unused; oneDNN,
which torch has for its convolutions, does not.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.evaluation.quick_convolution import QuickConv2d, pays

LEAST = 1 << 22
"""Multiplications. From there on whole passes gain: 2 to 8% of resnet2b's, 5 to 20% of the small
CNNs', 10% of LeNet5's. Of the small CNN's of 20 to 100 digits, 2^19 to 2^21, they lose up to 5%."""
AVAILABLE = (
    hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
)


class QuickLinear(nn.Linear):
    """`nn.Linear` up to rounding."""

    def forward(self, input: Tensor) -> Tensor:
        """(batch, outputs) of (batch, inputs)."""
        weight, bias = self.weight, self.bias
        plain = (
            input.device.type != "cpu" or input.dim() != 2
            or not input.dtype == weight.dtype == torch.float32
            or len(input) * weight.numel() < LEAST
            or torch.is_autocast_enabled("cpu") or torch._C._are_functorch_transforms_active()
        )  # fmt: skip
        if plain:
            return super().forward(input)
        if torch.is_grad_enabled() and any(
            one is not None and one.requires_grad for one in (input, weight, bias)
        ):
            answered: Tensor = _Product.apply(input, weight, bias)
            return answered
        return _product(input, weight, bias)


def _product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What a linear layer answers, by oneDNN."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return found


class _Product(torch.autograd.Function):
    """Every gradient is another such product."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs if weight.requires_grad else None, weight)
        return _product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        at_inputs, at_weight, at_bias = ctx.needs_input_grad
        return (
            _Product.apply(gradient, weight.t(), None) if at_inputs else None,
            _Product.apply(gradient.t(), inputs.t(), None) if at_weight else None,
            gradient.sum(dim=0) if at_bias else None,
        )


def quicken(model: nn.Module) -> nn.Module:
    """Make the layers of `model` quick where that pays; parameters and names stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and pays(module):
            module.__class__ = QuickConv2d
        elif type(module) is nn.Linear and AVAILABLE:
            module.__class__ = QuickLinear
    return model
