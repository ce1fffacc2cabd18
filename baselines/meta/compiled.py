"""The outer gradient as one compiled function: for thousands of iterations of small tasks.

The plain way, `meta_learning.outer_gradient`, goes operation by operation, and with few small
images most of its time is spent between them. Here inner loops, outer losses and the way back
through both are one function of tensors, which `torch.compile` makes machine code of when it is
first called. Attacks are no part of it: to the gradient, what they make is constant. Queries are
attacked before, on weights that are adapted once more for that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from baselines.meta.algorithms import (
    Learner,
    adapted_to,
    attacked_queries,
    book_inner_loops,
    book_queries,
    check_finite,
    most_together,
    outer_loss,
    shows,
    stacked_batches,
    start_of,
)
from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task, by_attack
from benchmark.adaptation.adapt import inner_update
from benchmark.core.errors import UsageError
from benchmark.core.model_batch import Parameters
from benchmark.core.types import Batch


class Given(NamedTuple):
    """What tasks gave to look at: constants to the gradient, (tasks, ...) each."""

    shown: Tensor
    """(tasks, inner steps, rows, ...)."""
    shown_labels: Tensor
    attacked: Tensor
    """Queries, attacked on theta_i'."""
    images: Tensor
    """The same without attack."""
    labels: Tensor


def compiled_gradient(learner: Learner) -> Callable[[Sequence[Task]], Tensor]:
    """`meta_learning.outer_gradient` of this learner, compiled at its first call.

    The function raises as that one does, and UsageError where torch cannot compile the network.
    """
    function = torch.compile(task_gradient(learner.model, learner.settings), dynamic=False)

    def gradient(tasks: Sequence[Task]) -> Tensor:
        groups = by_attack(tasks)
        parts = [given(learner, [tasks[place] for place in places]) for places in groups]
        everything = Given(*(torch.cat(some) for some in zip(*parts, strict=True)))
        most, found = most_together(learner, tasks), []
        for first in range(0, len(tasks), most):
            some = Given(*(part[first : first + most] for part in everything))
            found.append(_add(learner, function, some, len(tasks)))
        losses = torch.zeros(len(tasks), dtype=torch.float64)
        losses[[place for places in groups for place in places]] = torch.cat(found).double().cpu()
        book_inner_loops(learner, tasks, through=not learner.settings.first_order)
        book_queries(learner, tasks)
        for places in groups:
            check_finite(learner, tasks[places[0]], losses[places])
        return losses

    return gradient


def task_gradient(
    model: nn.Module, settings: MetaSettings
) -> Callable[..., tuple[tuple[Parameters, Parameters], Tensor]]:
    """A function of theta, the logarithms of step sizes, and what is `Given`: pure, to compile.

    It gives the gradients of the sum of the outer losses at both, and the losses (tasks,).
    """
    names = list(start_of(model, settings))

    def loss(
        theta: Parameters, logarithms: Parameters, shown: Tensor, shown_labels: Tensor,
        attacked: Tensor, images: Tensor, labels: Tensor,
    ) -> Tensor:  # fmt: skip
        sizes = {name: tensor.exp() for name, tensor in logarithms.items()}
        now = {name: theta[name] for name in names}
        for step in range(settings.inner_steps):
            batch, rate = Batch(shown[step], shown_labels[step]), sizes or settings.inner_lr
            now = inner_update(model, now, batch, rate, settings.first_order, theta)
        return outer_loss(model, settings, {**theta, **now}, Batch(attacked, labels), images)

    def total(theta: Parameters, logarithms: Parameters, *rows: Tensor) -> tuple[Tensor, Tensor]:
        if len(rows[0]) == 1:  # convolutions of one model need no groups
            losses = loss(theta, logarithms, *(row[0] for row in rows))[None]
        else:
            losses = torch.func.vmap(loss, (None, None, 0, 0, 0, 0, 0))(theta, logarithms, *rows)
        return losses.sum(), losses

    return torch.func.grad(total, argnums=(0, 1), has_aux=True)


def given(learner: Learner, tasks: Sequence[Task]) -> Given:
    """What tasks of one attack look at, and their queries under attack."""
    settings, show, seen = learner.settings, shows(learner, tasks), list[Batch]()

    def noted(many: Parameters, step: int) -> Batch:
        seen.append(show(many, step))
        return seen[-1]

    many: Parameters = {}
    if settings.inner == "simulated" or tasks[0].crafted is None:
        with torch.no_grad():
            many = adapted_to(learner, tasks, noted)
    else:
        for step in range(settings.inner_steps):
            noted(many, step)
    query = attacked_queries(learner, tasks, many)
    images, labels = stacked_batches(seen or [query])  # (steps, tasks, ...)
    clean = torch.stack([task.query.images for task in tasks])
    shown = images.transpose(0, 1), labels.transpose(0, 1)
    return Given(*shown, query.images, clean, query.labels)


def _add(learner: Learner, function: Callable[..., Any], some: Given, tasks: int) -> Tensor:
    """Add the share of some of the `tasks` to `.grad`; their losses."""
    moved: list[Parameters] = [dict(learner.model.named_parameters()), learner.logarithms]
    at = [{name: tensor.detach() for name, tensor in these.items()} for these in moved]
    losses: Tensor
    try:
        gradients, losses = function(*at, *some)
    except RuntimeError as error:
        raise UsageError(
            f"{learner.settings.name}[compiled=true]: torch cannot compile this network here "
            f"({' '.join(str(error).split())[:200]}); leave the option out"
        ) from error
    for these, found in zip(moved, gradients, strict=True):
        for name, tensor in these.items():
            share = found[name] / tasks
            tensor.grad = share if tensor.grad is None else tensor.grad + share
    return losses
