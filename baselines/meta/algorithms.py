"""The algorithms of meta-training: from tasks to an outer gradient.

    inner   theta_i' = theta - alpha * grad_theta L(theta, support of T_i,adv)
    outer   min_theta sum_i L(theta_i', query of T_i,adv)

All tasks of one attack go through one `torch.func.vmap` call where that pays, and their queries
are attacked on the adapted weights in one batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task, attack_each, by_attack
from baselines.training.ledger import Ledger
from benchmark.adaptation.adapt import MOST_BYTES, Rate, ShowAll, inner_loops
from benchmark.adaptation.parameters import last_linear
from benchmark.core.errors import AuditError
from benchmark.core.model_batch import Parameters, each, pays_off
from benchmark.core.streams import Streams
from benchmark.core.types import Batch


class Learner(NamedTuple):
    """What meta-training moves, and how."""

    model: nn.Module
    settings: MetaSettings
    logarithms: Parameters
    """Of the inner step sizes, where they are learned; empty otherwise."""
    ledger: Ledger

    @classmethod
    def of(cls, model: nn.Module, settings: MetaSettings, ledger: Ledger) -> Learner:
        """A learner before its first step: every step size is `inner_lr`."""
        logarithms = {}
        if settings.meta_sgd:
            begin = math.log(settings.inner_lr)
            logarithms = {
                name: torch.full_like(tensor, begin).requires_grad_()
                for name, tensor in start_of(model, settings).items()
            }
        return cls(model, settings, logarithms, ledger)

    @property
    def rate(self) -> Rate:
        """Of the inner step: alpha."""
        return self.step_sizes() or self.settings.inner_lr

    def step_sizes(self) -> Parameters:
        """The learned inner step sizes by parameter; empty if none are learned."""
        return {name: tensor.exp() for name, tensor in self.logarithms.items()}


def start_of(model: nn.Module, settings: MetaSettings) -> Parameters:
    """What the inner loop moves."""
    everything = dict(model.named_parameters())
    names = last_linear(model) if settings.algorithm == "anil" else everything
    return {name: everything[name] for name in names}


def shows(learner: Learner, tasks: Sequence[Task]) -> ShowAll:
    """What tasks of one attack show in each inner step: their support, and what is rehearsed."""
    support = stacked_batches([task.support for task in tasks])
    rehearsal = stacked_batches([task.rehearsal for task in tasks])
    rng = Streams.joined([task.streams[0] for task in tasks])

    def show(many: Parameters, step: int) -> Batch:
        shown = support
        if learner.settings.inner == "simulated":
            attack, ledger = tasks[0].attack, learner.ledger
            shown = attack_each(
                attack, learner.model, many, support, ledger, rng.fork("inner", step)
            )
        clean = Batch(rehearsal.images[:, step], rehearsal.labels[:, step])
        return Batch(*(torch.cat(parts, dim=1) for parts in zip(shown, clean, strict=True)))

    return show


def adapted_to(learner: Learner, tasks: Sequence[Task]) -> Parameters:
    """theta_i' (tasks, ...) of tasks of one attack: a function of theta, where gradients are on."""
    settings, start = learner.settings, start_of(learner.model, learner.settings)
    many = {name: tensor.expand(len(tasks), *tensor.shape) for name, tensor in start.items()}
    through = torch.is_grad_enabled() and not settings.first_order
    shown = sum(task.support.labels.numel() for task in tasks) * settings.inner_steps
    rows = shown + sum(task.rehearsal.labels.numel() for task in tasks)
    learner.ledger.meter.forwards += rows
    learner.ledger.meter.backwards += 3 * rows if through else rows  # back through both passes
    return inner_loops(
        learner.model, many, shows(learner, tasks), [learner.rate] * settings.inner_steps,
        settings.first_order,
    )  # fmt: skip


def attacked_queries(learner: Learner, tasks: Sequence[Task], many: Parameters) -> Batch:
    """Queries (tasks, rows, ...) of tasks of one attack, attacked on theta_i' unless they are."""
    clean = stacked_batches([task.query for task in tasks])
    crafted = [task.crafted for task in tasks if task.crafted is not None]
    if crafted:
        return Batch(torch.stack(crafted), clean.labels)
    rng = Streams.joined([task.streams[1] for task in tasks])
    return attack_each(tasks[0].attack, learner.model, many, clean, learner.ledger, rng)


def outer_losses(learner: Learner, tasks: Sequence[Task], many: Parameters) -> Tensor:
    """The outer losses (tasks,) of tasks of one attack, whose query is attacked on theta_i'.

    L(theta_i', attacked) + clean_weight * L(theta_i', clean)
    """
    model, settings, meter = learner.model, learner.settings, learner.ledger.meter
    clean = stacked_batches([task.query for task in tasks])
    query = attacked_queries(learner, tasks, many)
    rows = sum(len(task.query.labels) for task in tasks) * (1 + (settings.clean_weight > 0))
    meter.forwards += rows
    meter.backwards += rows

    def loss(one: Parameters, attacked: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(model, one, (attacked,))
        value = cross_entropy(logits, labels)
        if settings.clean_weight:
            usual = functional_call(model, one, (images,))
            value = value + settings.clean_weight * cross_entropy(usual, labels)
        return value

    losses: Tensor = each(model, loss, many, query.images, *clean)
    return losses


def meta_batches(learner: Learner, tasks: Sequence[Task]) -> list[list[int]]:
    """Places of the tasks that go together: of one attack, and as many as memory allows.

    One at a time where a call for all does not pay: then only one graph is kept.
    """
    start, shown = start_of(learner.model, learner.settings).values(), tasks[0].support.images
    most = max(1, MOST_BYTES // max(1, sum(tensor.nbytes for tensor in start)))
    most = most if pays_off(shown.device, shown.numel()) else 1
    return [
        same[first : first + most]
        for same in by_attack(tasks)
        for first in range(0, len(same), most)
    ]


def outer_gradient(learner: Learner, tasks: Sequence[Task]) -> Tensor:
    """Add the outer gradient, a mean over `tasks`, to `.grad`; gives the losses, float64 (tasks,).

    Raises:
        AuditError: a loss or the gradient is not finite; says under which attack.
    """
    losses = torch.zeros(len(tasks), dtype=torch.float64)
    for places in meta_batches(learner, tasks):
        some = [tasks[place] for place in places]
        if learner.settings.algorithm == "reptile":
            found, objective = reptile_objective(learner, some)
        else:
            found = outer_losses(learner, some, adapted_to(learner, some))
            objective = found.sum()
        (objective / len(tasks)).backward()  # type: ignore[no-untyped-call]
        losses[places] = found.detach().double().cpu()
        check_finite(learner, some[0], losses[places])
    return losses


def reptile_objective(learner: Learner, tasks: Sequence[Task]) -> tuple[Tensor, Tensor]:
    """Losses (tasks,), and a number whose gradient is sum_i (theta - theta_i').

    theta_i' is where the inner loop and one more step, on the outer loss, lead: Reptile's batches
    of a task are its support, again and again, and then its query.
    """
    with torch.no_grad():
        many = adapted_to(learner, tasks)
    many = {name: tensor.detach().requires_grad_() for name, tensor in many.items()}
    losses = outer_losses(learner, tasks, many)
    slopes = torch.autograd.grad(losses.sum(), list(many.values()))
    start, lr = start_of(learner.model, learner.settings), learner.settings.inner_lr
    ways = [
        start[name].detach() - (tensor.detach() - lr * slope)
        for (name, tensor), slope in zip(many.items(), slopes, strict=True)
    ]
    parts = [(start[name] * way).sum() for name, way in zip(many, ways, strict=True)]
    return losses, torch.stack(parts).sum()


def check_finite(learner: Learner, task: Task, losses: Tensor) -> None:
    """AuditError, naming the attack of `task`, for losses or a gradient that are not finite."""
    tensors = [*learner.model.parameters(), *learner.logarithms.values()]
    sizes = [tensor.grad.norm() for tensor in tensors if tensor.grad is not None]
    for what, value in (("loss", losses.sum()), ("gradient", torch.stack(sizes).sum())):
        if not value.isfinite():
            name, threat = task.attack.name, task.attack.threat
            raise AuditError(f"the meta-{what} on tasks of {name} ({threat}) is {value.item()}")


def stacked_batches(batches: Sequence[Batch]) -> Batch:
    """Batches of one size as one (batches, rows, ...)."""
    return Batch(*(torch.stack(parts) for parts in zip(*batches, strict=True)))
