"""The inner loop: adaptation as a pure function of parameters, for training and evaluation alike.

A model is a module (its code and frozen tensors) plus a dict of the parameters that adapt. Nothing
here writes to the module: the trained model is untouched, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.func import grad as gradient_of
from torch.nn.functional import cross_entropy

from baselines.networks import head_parameters, norm_parameters
from benchmark.core.records import Budget, Method
from benchmark.core.types import Batch

Parameters = dict[str, Tensor]
Show = Callable[[Parameters], Batch]
"""What the defender looks at in one inner step, given the parameters it has by then."""

DEFAULTS: Mapping[Method, tuple[int, float]] = {
    "none": (0, 0.0),
    "finetune": (10, 0.02),
    "head": (10, 0.02),
    "norm": (10, 0.1),
}
"""Steps and learning rate of each method, chosen on validation images (see README)."""


class Adapted(NamedTuple):
    """A model after adaptation."""

    model: nn.Module
    moved: float
    """||adapted - trained|| / ||trained|| over all parameters."""
    support_loss: tuple[float, float]
    """Cross-entropy on what was shown first, before and after."""


def task_loss(model: nn.Module, parameters: Parameters, batch: Batch) -> Tensor:
    """L(theta, T): mean cross-entropy of `model` with `parameters` on a batch."""
    return cross_entropy(functional_call(model, parameters, (batch.images,)), batch.labels)


def inner_update(
    model: nn.Module, parameters: Parameters, batch: Batch, inner_lr: float, first_order: bool
) -> Parameters:
    """One inner step: theta' = theta - alpha * grad_theta L(theta, T).

    Finn, Abbeel & Levine 2017. The result is differentiable in `parameters`; with `first_order`
    the gradient counts as a constant, which drops the second derivatives (FOMAML).
    """
    gradients = gradient_of(lambda current: task_loss(model, current, batch))(parameters)
    if first_order:
        gradients = {name: gradient.detach() for name, gradient in gradients.items()}
    return {name: tensor - inner_lr * gradients[name] for name, tensor in parameters.items()}


def inner_loop(
    model: nn.Module, parameters: Parameters, show: Show, steps: int, inner_lr: float,
    first_order: bool = True,
) -> Parameters:  # fmt: skip
    """`steps` inner updates on what `show` gives for the parameters of the moment."""
    for _ in range(steps):
        batch = show(parameters)
        parameters = inner_update(model, parameters, batch, inner_lr, first_order)
    return parameters


def trainable(model: nn.Module, method: Method) -> list[str]:
    """Names of the parameters a method adapts; empty where the network has none of the kind."""
    if method == "none":
        return []
    if method == "head":
        return head_parameters(model)
    if method == "norm":
        return norm_parameters(model)
    return [name for name, _ in model.named_parameters()]


@torch.no_grad()
def adapt(model: nn.Module, budget: Budget, show: Show) -> Adapted:
    """Adapt a copy of `model` within `budget`; 0 shots, 0 steps or `none` give it back unchanged.

    The model stays in eval mode: running statistics are data the defender did not pay for, and
    they would make an episode depend on the one before.
    """
    if not budget.adapts:
        return Adapted(model, 0.0, (0.0, 0.0))
    everything = dict(model.named_parameters())
    start = {name: everything[name].detach() for name in trainable(model, budget.method)}
    first = show(start)
    end = inner_loop(model, start, show, budget.steps, budget.lr)
    moved = sum(float((end[name] - start[name]).double().square().sum()) for name in start)
    size = sum(float(tensor.double().square().sum()) for tensor in everything.values())
    losses = (float(task_loss(model, start, first)), float(task_loss(model, end, first)))
    return Adapted(with_parameters(model, end), (moved / size) ** 0.5, losses)


def with_parameters(model: nn.Module, parameters: Parameters) -> nn.Module:
    """A copy of `model` that owns `parameters`."""
    copy = deepcopy(model)
    copy.load_state_dict({**copy.state_dict(), **parameters})
    return copy
