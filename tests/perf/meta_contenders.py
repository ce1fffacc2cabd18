"""One second-order meta-iteration: ours, the package `higher`, and a plain loop over the tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from racing import run_lap
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, strengths_of
from baselines.meta.algorithms import Learner, outer_gradient
from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task
from baselines.networks.zoo import build_network
from baselines.training.ledger import Ledger
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data.catalog import DATASETS

TASKS = 8
LR = 0.01
TURNS = 100
"""Iterations of a lap: a process needs a fifth of a second more for its first ones."""
Work = Callable[[], Any]


class Job(NamedTuple):
    """A network and tasks whose queries are crafted already: what is raced is the meta-gradient."""

    model: nn.Module
    support: Batch
    query: Batch


def job(dataset: str, rows: str) -> Job:
    """`rows` support and as many query images in each of the tasks."""
    shape = DATASETS[dataset].shape
    model = build_network("small_cnn", shape, 10, stream("race")).eval()
    size = (TASKS, int(rows))
    labels = torch.arange(int(rows)).expand(size) % 10
    support, query = (
        Batch(torch.rand(*size, *shape, generator=stream("race", part)), labels)
        for part in ("support", "query")
    )
    return Job(model, support, query)


def told(model: nn.Module) -> list[float]:
    """Enough of the outer gradient to see that all contenders find the same."""
    gradients: list[Tensor] = [parameter.grad for parameter in model.parameters()]
    return [float(gradient.double().norm()) for gradient in gradients]


def warm(work: Work) -> Work:
    """`work` after a first go: the first call of torch.func imports for a second."""
    work()
    return work


def reattack(dataset: str, rows: str) -> Work:
    """Ours: every task in one call where that pays."""
    from benchmark.execution.allocator import keep_memory

    keep_memory()
    model, support, query = job(dataset, rows)
    settings = MetaSettings(inner_steps=1, inner_lr=LR, clean_weight=0.0)
    learner, attack = (
        Learner.of(model, settings, Ledger()),
        build_attack("fgsm", strengths_of(dataset)),
    )
    nothing = Batch(support.images[0, :0][None], support.labels[0, :0][None])
    streams = Streams.named(int(rows), "s"), Streams.named(int(rows), "q")
    tasks = [
        Task(
            attack, Batch(support.images[i], support.labels[i]),
            Batch(query.images[i], query.labels[i]), nothing, streams, query.images[i],
        )
        for i in range(TASKS)
    ]  # fmt: skip

    def work() -> list[float]:
        for _ in range(TURNS):
            model.zero_grad()
            outer_gradient(learner, tasks)
        return told(model)

    return warm(work)


def loop(dataset: str, rows: str) -> Work:
    """What anybody writes: `create_graph`, and one task after the other."""
    model, support, query = job(dataset, rows)
    theta = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], batch: Batch, index: int) -> Tensor:
        logits = functional_call(model, parameters, (batch.images[index],))
        return cross_entropy(logits, batch.labels[index])

    def work() -> list[float]:
        for _ in range(TURNS):
            model.zero_grad()
            for index in range(TASKS):
                inner = loss(theta, support, index)
                slopes = torch.autograd.grad(inner, list(theta.values()), create_graph=True)
                adapted = {
                    name: tensor - LR * slope
                    for (name, tensor), slope in zip(theta.items(), slopes, strict=True)
                }
                (loss(adapted, query, index) / TASKS).backward()
        return told(model)

    return warm(work)


def loop_kept(dataset: str, rows: str) -> Work:
    """The loop with our setting of the allocator: what is left is the algorithm."""
    from benchmark.execution.allocator import keep_memory

    keep_memory()
    return loop(dataset, rows)


def higher(dataset: str, rows: str) -> Work:
    """The package."""
    from higher import innerloop_ctx

    model, support, query = job(dataset, rows)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def work() -> list[float]:
        for _ in range(TURNS):
            model.zero_grad()
            for index in range(TASKS):
                with innerloop_ctx(model, optimizer, copy_initial_weights=False) as (fast, inner):
                    inner.step(cross_entropy(fast(support.images[index]), support.labels[index]))
                    loss = cross_entropy(fast(query.images[index]), query.labels[index])
                    (loss / TASKS).backward()
        return told(model)

    return warm(work)


CONTENDERS: dict[str, Callable[..., Work]] = {
    contender.__name__: contender for contender in (reattack, loop, loop_kept, higher)
}

if __name__ == "__main__":
    run_lap(CONTENDERS)
