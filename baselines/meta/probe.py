"""Whether meta-training is meta-learning at all: asked once, before the first outer step.

A query scored on a detached copy, or an inner loop whose graph is cut, trains without complaint and
learns nothing of adaptation (published pipelines do both). Two numbers tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from baselines.meta.algorithms import Learner, adapted_to, outer_gradient
from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task, construct_adv_task_set
from baselines.training.ledger import Ledger
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.core.types import Attack, Split
from benchmark.evaluation.verdicts import frozen

LEAST = 1e-6
"""Relative change below which the outer gradient does not depend on the query."""
SIZE = 16
"""Images of a probing task, where tasks are not drawn by class."""


def meta_gradient_probe(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings
) -> dict[str, float]:
    """How the outer gradient depends on the query and on the inner loop; `model` is left alone.

    `outer_gradient_of_query`: ||g(query) - g(another query)|| / ||g(query)||, of one task.
    `inner_loop_curvature`: ||J'v - v|| / ||v|| with J = d theta' / d theta and a random v; 0 where
    the inner loop keeps no graph, as first order means to.

    Raises:
        AuditError: the query has no say in the outer gradient, or second order has no graph.
    """
    small = replace(
        settings, tasks=2, shots=1, query=1, task_size=min(settings.task_size, SIZE), pool="rebuilt"
    )
    copy, rng = frozen(model).requires_grad_(), stream("meta gradient probe")
    pair = construct_adv_task_set(copy, data, attacks[:1], small, Ledger(), rng)
    try:
        found = {
            "outer_gradient_of_query": _of_query(copy, small, pair),
            "inner_loop_curvature": _curvature(copy, small, pair[0]),
        }
    except AuditError:  # not finite: the first iteration says so better
        return {}
    if found["outer_gradient_of_query"] < LEAST:
        raise AuditError(
            "the outer gradient does not depend on the query: expected the query loss to reach the "
            "weights through the inner loop, meta-training would learn nothing from adaptation"
        )
    moves = settings.inner_steps and settings.inner_lr
    if moves and not settings.first_order and not found["inner_loop_curvature"]:
        raise AuditError(
            f"{settings.algorithm} needs the graph of its inner loop, which is not there; "
            "expected second derivatives, or algorithm=fomaml"
        )
    return found


def _of_query(model: nn.Module, settings: MetaSettings, pair: Sequence[Task]) -> float:
    learner = Learner.of(model, settings, Ledger())
    first, other = pair
    gradients = []
    for task in (first, first._replace(query=other.query, streams=other.streams)):
        model.zero_grad()
        outer_gradient(learner, [task])
        gradients.append(_flat([tensor.grad for tensor in model.parameters()]))
    change, size = gradients[0] - gradients[1], gradients[0]
    return float(change.norm() / size.norm().clamp_min(torch.finfo(size.dtype).tiny))


def _curvature(model: nn.Module, settings: MetaSettings, task: Task) -> float:
    many = adapted_to(Learner.of(model, settings, Ledger()), [task])
    theta = [dict(model.named_parameters())[name] for name in many]
    rng = stream("meta gradient probe", "direction")
    ways = [torch.randn(tensor.shape, generator=rng).to(tensor) for tensor in theta]
    product = torch.stack([(end[0] * v).sum() for end, v in zip(many.values(), ways, strict=True)])
    slopes = torch.autograd.grad(product.sum(), theta)
    return float((_flat(slopes) - _flat(ways)).norm() / _flat(ways).norm())


def _flat(tensors: Sequence[Tensor | None]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors if tensor is not None])
