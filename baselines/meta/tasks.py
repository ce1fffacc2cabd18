"""What meta-training learns from: tasks T_i,adv = attack x draw of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.meta.settings import MetaSettings
from baselines.training.ledger import Ledger
from benchmark.adaptation.adapt import with_parameters
from benchmark.core.model_batch import ModelBatch, Parameters, unstack
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Split
from benchmark.data.splits import balanced
from benchmark.evaluation.verdicts import frozen, metered


class Task(NamedTuple):
    """T_i,adv: what is adapted on, and what is scored after it."""

    attack: Attack
    support: Batch
    query: Batch
    """Clean; it is attacked on the adapted weights."""
    rehearsal: Batch
    """Clean images beside the support: (inner steps, rows, ...), 0 rows if nothing is rehearsed."""
    streams: tuple[Streams, Streams]
    """Of the support and of the query, not drawn from yet."""
    crafted: Tensor | None = None
    """The query images under attack in a fixed pool: crafted with the support, never again."""


def construct_adv_task_set(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, rng: torch.Generator,
) -> list[Task]:  # fmt: skip
    """`settings.tasks` tasks, each an attack drawn from `attacks` and images drawn by class.

    `shots` images per class to adapt on, attacked on `model` as it is now if `inner` says captured,
    and `query` others per class, clean; in a fixed pool they are attacked on `model` too.
    """
    device, classes = next(model.parameters()).device, int(data.labels.max()) + 1
    tasks = [_draw(data, attacks, classes, settings, device, rng) for _ in range(settings.tasks)]
    target, made = frozen(model), dict[int, Task]()
    for places in by_attack(tasks):
        some = [tasks[place] for place in places]
        if settings.inner == "captured":
            shown = _craft(target, some, 0, ledger)
            some = [task._replace(support=one) for task, one in zip(some, shown, strict=True)]
        if settings.pool == "fixed":
            asked = _craft(target, some, 1, ledger)
            some = [
                task._replace(crafted=one.images) for task, one in zip(some, asked, strict=True)
            ]
        made |= dict(zip(places, some, strict=True))
    return [made[place] for place in range(len(tasks))]


def _draw(
    data: Split, attacks: Sequence[Attack], classes: int, settings: MetaSettings,
    device: torch.device, rng: torch.Generator,
) -> Task:  # fmt: skip
    """A task without any attack yet; what is rehearsed is none of its query."""
    attack = attacks[int(torch.randint(len(attacks), (1,), generator=rng))]
    if settings.task_size:
        cut = settings.task_size
        drawn = torch.randperm(len(data), generator=rng)[: 2 * cut]
    else:
        cut = settings.shots * classes
        drawn = balanced(data.labels, settings.shots + settings.query, classes, rng)
    support, query = data.batch(drawn[:cut]), data.batch(drawn[cut:])
    size = cut if settings.rehearse else 0
    steps = [_others(len(data), drawn[cut:], size, rng) for _ in range(settings.inner_steps)]
    rehearsed = torch.stack(steps) if steps else torch.empty(0, 0, dtype=torch.int64)
    rehearsal = Batch(data.images(rehearsed), data.labels[rehearsed])
    streams = Streams.dealt(rng, cut), Streams.dealt(rng, len(drawn) - cut)
    return Task(attack, support.to(device), query.to(device), rehearsal.to(device), streams)


def _others(count: int, query: Tensor, size: int, rng: torch.Generator) -> Tensor:
    """`size` of `count` indices, none of them in `query`."""
    if not size:
        return query[:0]
    drawn = torch.randperm(count, generator=rng)[: size + len(query)]
    return drawn[~torch.isin(drawn, query)][:size]


def by_attack(tasks: Sequence[Task]) -> list[list[int]]:
    """Places of the tasks of each attack: these are adapted and attacked together."""
    found: dict[Attack, list[int]] = {}
    for place, task in enumerate(tasks):
        found.setdefault(task.attack, []).append(place)
    return list(found.values())


def _craft(target: nn.Module, tasks: Sequence[Task], part: int, ledger: Ledger) -> list[Batch]:
    """Support (part 0) or query (1) of tasks of one attack, attacked on one model in one batch."""
    batches = [(task.support, task.query)[part] for task in tasks]
    rng = Streams.joined([task.streams[part] for task in tasks])
    everyone = Batch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    with metered(target, ledger.meter):
        images = ledger.perturb(tasks[0].attack, target, everyone, rng).images
    parts = torch.split(images, [len(batch.labels) for batch in batches])
    return [Batch(one, batch.labels) for one, batch in zip(parts, batches, strict=True)]


def attack_each(
    attack: Attack, model: nn.Module, many: Parameters, batch: Batch, ledger: Ledger, rng: Streams
) -> Batch:
    """Attack images (models, rows, ...), each on the model it belongs to.

    In one batch if the attack asks by rows; else model by model. `model` has the parameters that
    `many` (models, ...) does not.
    """
    now = {name: tensor.detach() for name, tensor in many.items()}
    models, rows = batch.labels.shape
    target, flat = frozen(model), Batch(batch.images.flatten(0, 1), batch.labels.flatten())
    if attack.by_rows:
        owner = torch.arange(models, device=flat.labels.device).repeat_interleave(rows)
        targets: list[nn.Module] = [ModelBatch(target, now, owner)]
    else:
        targets = [with_parameters(target, unstack(now, index)) for index in range(models)]
    images, size = [], len(flat.labels) // len(targets)
    for index, one in enumerate(targets):
        part = slice(index * size, (index + 1) * size)
        some = Batch(flat.images[part], flat.labels[part])
        with metered(one, ledger.meter):
            images.append(ledger.perturb(attack, one, some, rng.take(part)).images)
    return Batch(torch.cat(images).view_as(batch.images), batch.labels)
