"""The inner loop: adaptation as a pure function of parameters, for training and evaluation alike.

A model is a module (its code and frozen tensors) plus a dict of the parameters that adapt. Nothing
here writes to the module: the trained model is untouched, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.func import grad as gradient_of
from torch.nn.functional import cross_entropy

from benchmark.adaptation.parameters import trainable
from benchmark.adaptation.step_sizes import step_sizes
from benchmark.core.copying import copied
from benchmark.core.model_batch import (
    ModelBatch,
    Parameters,
    each,
    side_by_side,
    standing_in,
    together,
    unstack,
    wide,
)
from benchmark.core.out_of_memory import in_parts
from benchmark.core.schema import Effort
from benchmark.core.types import Batch
from benchmark.results.records import Budget, Inferred, Method

Show = Callable[[Parameters], Batch]
"""What the defender looks at in one inner step, given the parameters it has by then."""
ShowAll = Callable[[Parameters, int], Batch]
"""The same for many models: stacked parameters (models, ...) and the inner step, counted from 0;
gives images (models, rows, ...) and labels."""
Rate = float | Parameters
"""alpha of an inner step: one number, or a step size for each number of each parameter."""

DEFAULTS: Mapping[Method, tuple[int, float]] = {
    "none": (0, 0.0),
    "finetune": (10, 0.02), "trust": (10, 0.05), "head": (10, 0.02), "norm": (10, 0.1),
    "learned": (3, 1.0), "amplify": (200, 0.1),
}  # fmt: skip
"""Steps and learning rate of each method, chosen on validation images (see README); of `learned`
the learning rate multiplies the step sizes that came with the model."""

RADIUS = 0.02
"""Of `trust`: how far adapted weights may be from the trained ones, as a share of their norm."""
FIXED: Parameters = {}
"""Nothing stands in for the parameters of the model."""
MOST_BYTES = 256 << 20
"""Of parameters adapted, or attacked, in one call; gradients and activations come on top."""


class Adapted(NamedTuple):
    """A model after adaptation: the trained one with other values for some of its parameters."""

    trained: nn.Module
    parameters: Parameters
    moved: float
    """||adapted - trained|| / ||trained|| over all parameters."""
    support_loss: tuple[float, float]
    """Cross-entropy on what was shown first, before and after."""
    effort: Effort = Effort()
    """What the inner steps took, and `inferred` what they found out: noted by whoever shows."""
    inferred: Inferred | None = None

    @property
    def model(self) -> nn.Module:
        """A module that owns its parameters, made on each call; 0 shots: the trained one."""
        return with_parameters(self.trained, self.parameters) if self.parameters else self.trained


def task_loss(model: nn.Module, parameters: Parameters, batch: Batch) -> Tensor:
    """L(theta, T): mean cross-entropy of `model` with `parameters` on a batch."""
    return cross_entropy(functional_call(model, parameters, (batch.images,)), batch.labels)


def task_gradients(
    model: nn.Module, parameters: Parameters, batch: Batch, first_order: bool,
    others: Parameters = FIXED,
) -> Parameters:  # fmt: skip
    """grad_theta L(theta, T): a constant if `first_order`, else differentiable in `parameters`.

    `others` are parameters that stand in for those of `model` and do not adapt. Outside of `vmap`
    and of compiling autograd is asked itself: a function transform over it takes a fifth longer,
    and twice as long on the smallest batches.
    """
    if torch.compiler.is_dynamo_compiling() or torch._C._are_functorch_transforms_active():
        found = gradient_of(lambda now: task_loss(model, {**others, **now}, batch))(parameters)
        return {name: one.detach() for name, one in found.items()} if first_order else found
    learns = torch.is_grad_enabled() and any(one.requires_grad for one in parameters.values())
    fixed = first_order or not learns
    with torch.enable_grad():
        asked = {
            name: tensor.detach().requires_grad_() if fixed or not tensor.requires_grad else tensor
            for name, tensor in parameters.items()
        }
        everything = {**others, **asked}

        def slopes(held: nn.Module) -> Sequence[Tensor]:
            loss = task_loss(held, everything, batch)
            if not loss.requires_grad:  # the network answers whatever its parameters are
                return [torch.zeros_like(tensor) for tensor in asked.values()]
            return torch.autograd.grad(
                loss, list(asked.values()), create_graph=not fixed, materialize_grads=True
            )

        found = standing_in(model, everything, slopes)
    return dict(zip(parameters, found, strict=True))


def inner_update(
    model: nn.Module, parameters: Parameters, batch: Batch, inner_lr: Rate, first_order: bool,
    others: Parameters = FIXED,
) -> Parameters:  # fmt: skip
    """One inner step: theta' = theta - alpha * grad_theta L(theta, T).

    Finn, Abbeel & Levine 2017. The result is differentiable in `parameters`; with `first_order`
    the gradient counts as a constant, which drops the second derivatives (FOMAML). Step sizes for
    each number (Meta-SGD, Li et al. 2017) are differentiable either way.
    """
    gradients = task_gradients(model, parameters, batch, first_order, others)
    return step_down(parameters, gradients, inner_lr)


def step_down(parameters: Parameters, gradients: Parameters, inner_lr: Rate) -> Parameters:
    """Down the slope, theta - alpha * gradient: of one model, or of many (models, ...)."""
    rates = inner_lr if isinstance(inner_lr, dict) else dict.fromkeys(parameters, inner_lr)
    return {name: tensor - rates[name] * gradients[name] for name, tensor in parameters.items()}


def inner_loop(
    model: nn.Module, parameters: Parameters, show: Show, steps: int, inner_lr: Rate,
    first_order: bool = True,
) -> Parameters:  # fmt: skip
    """`steps` inner updates on what `show` gives for the parameters of the moment."""
    for _ in range(steps):
        batch = show(parameters)
        parameters = inner_update(model, parameters, batch, inner_lr, first_order)
    return parameters


def inner_loops(
    model: nn.Module, many: Parameters, show: ShowAll, rates: Sequence[Rate],
    first_order: bool = True, radius: float = math.inf,
) -> Parameters:  # fmt: skip
    """The inner loops of many models (models, ...) that start from equal parameters.

    A step at each of `rates`; after it a model is projected onto a ball about where it started.
    """

    def update(one: Parameters, *rows: Tensor) -> Parameters:
        return inner_update(model, one, Batch(*rows), rates[step], first_order)

    start, constant = many, first_order or not torch.is_grad_enabled()
    for step, rate in enumerate(rates):
        shown = show(many, step)
        if constant and together(model, many, shown.images):
            many = step_down(many, constant_gradients(model, many, shown), rate)
        else:
            many = each(model, update, many, *shown, alike=step == 0)
        if radius < math.inf:
            many = near(start, many, radius)
    return many


def constant_gradients(model: nn.Module, many: Parameters, batch: Batch) -> Parameters:
    """`task_gradients` of first order of many models (models, ...), all at once.

    One model's loss has no slope at another's parameters: so the gradient of the sum has them all.
    Autograd from outside of `vmap` is as fast as `torch.func.grad` inside, which imports all of
    torch's compiler when it is first used: a second.
    """
    asked = {name: tensor.detach().requires_grad_() for name, tensor in many.items()}
    with torch.enable_grad():
        losses: Tensor = each(
            model, lambda one, *rows: task_loss(model, one, Batch(*rows)), asked, *batch
        )
        if not losses.requires_grad:  # the network answers whatever its parameters are
            return {name: torch.zeros_like(tensor) for name, tensor in asked.items()}
        slopes = torch.autograd.grad(losses.sum(), list(asked.values()), materialize_grads=True)
    return dict(zip(many, slopes, strict=True))


def near(start: Parameters, many: Parameters, radius: float) -> Parameters:
    """Models (models, ...) pulled back to an L2 ball about `start`: a trust region in weights."""
    shrink = (radius / distances(start, many)).clamp(max=1).float()
    return {
        name: start[name] + shrink.view(-1, *[1] * (tensor.dim() - 1)) * (tensor - start[name])
        for name, tensor in many.items()
    }


def distances(start: Parameters, many: Parameters) -> Tensor:
    """L2 distance of each model (models, ...) from `start`, over all its parameters: float64."""
    steps = [wide(many[name] - start[name]).abs().square() for name in many]
    return torch.stack([one.reshape(len(one), -1).sum(1) for one in steps]).sum(dim=0).sqrt()


def adapt(model: nn.Module, budget: Budget, show: Show) -> Adapted:
    """Adapt `model` within `budget`; 0 shots, 0 steps or `none` give it back unchanged."""
    return adapt_all(model, budget, [show])[0]


@torch.no_grad()
def adapt_all(model: nn.Module, budget: Budget, shows: Sequence[Show]) -> list[Adapted]:
    """Adapt `model` once for each of `shows`, in one `torch.func.vmap` call where that pays.

    They may show different numbers of images (episodes of several budgets); method, steps and
    learning rate are those of `budget`. The model stays in eval mode: running statistics are data
    the defender did not pay for, and they would make an episode depend on the one before.
    """
    adapted = [Adapted(model, {}, 0.0, (0.0, 0.0)) for _ in shows]
    if not budget.adapts:
        return adapted
    first = [show(FIXED) for show in shows]
    everything = dict(model.named_parameters())
    names = trainable(model, budget.method, first[0].images)
    start = {name: everything[name].detach() for name in names}

    def work(group: Sequence[int]) -> list[Adapted]:
        some = [shows[index] for index in group], side_by_side([first[index] for index in group])
        return _together(model, start, budget, *some)

    most = max(1, MOST_BYTES // max(1, sum(tensor.nbytes for tensor in start.values())))
    for same in alike(first) if start else []:
        for index, one in zip(same, in_parts(same, most, work), strict=True):
            adapted[index] = one
    return adapted


def alike(batches: Sequence[Batch]) -> list[list[int]]:
    """Which batches may go into one call.

    A GPU takes batches of different sizes, the shorter ones filled up; on a CPU that is work.
    """
    found: dict[int, list[int]] = {}
    for index, batch in enumerate(batches):
        size = len(batch.labels) if batch.images.device.type == "cpu" else 0
        found.setdefault(size, []).append(index)
    return list(found.values())


def _together(
    trained: nn.Module, start: Parameters, budget: Budget, shows: Sequence[Show], first: Batch
) -> list[Adapted]:
    model = copied(trained)  # a pass may leave tensors in it

    def losses(many: Parameters) -> list[float]:
        found: Tensor = each(
            model, lambda one, *rows: task_loss(model, one, Batch(*rows)), many, *first
        )
        return found.tolist()

    def show(many: Parameters, _step: int) -> Batch:
        return side_by_side([show(unstack(many, index)) for index, show in enumerate(shows)])

    begun = {name: tensor.expand(len(shows), *tensor.shape) for name, tensor in start.items()}
    size = sum(float(wide(one).abs().square().sum()) for one in model.parameters()) ** 0.5
    radius = RADIUS * size if budget.method == "trust" else math.inf
    many = inner_loops(model, begun, show, _rates(model, budget), radius=radius)
    moved = (distances(begun, many) / size).tolist()
    before, after = losses(begun), losses(many)
    return [
        Adapted(trained, unstack(many, index), moved[index], (before[index], after[index]))
        for index in range(len(shows))
    ]


def _rates(model: nn.Module, budget: Budget) -> list[Rate]:
    """Of each step; of `amplify`, which looks at other images each time, falling in a line."""
    if budget.amplify is not None:
        return [budget.lr * (1 - step / budget.steps) for step in range(budget.steps)]
    learned = {name: budget.lr * size for name, size in step_sizes(model).items()}
    return [learned if budget.method == "learned" else budget.lr] * budget.steps


def as_one(adapted: Sequence[Adapted], rows: int) -> nn.Module:
    """The adapted models as one module, each answering `rows` rows of the batch, in order."""
    if len(adapted) == 1:
        return adapted[0].model
    return ModelBatch.of(adapted[0].trained, [one.parameters for one in adapted], rows)


@torch.no_grad()
def with_parameters(model: nn.Module, parameters: Parameters) -> nn.Module:
    """A copy of `model` that owns `parameters`."""
    copy = copied(model)
    own = {**dict(copy.named_buffers()), **dict(copy.named_parameters())}
    for name, tensor in parameters.items():
        own[name].copy_(tensor)
    return copy
