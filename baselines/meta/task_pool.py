"""The pool of tasks: which attacks, enough images, and a pool that is fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task, construct_adv_task_set
from baselines.training.attack_pool import pool
from baselines.training.ledger import Ledger
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.types import Attack, Split


def attacks_of(settings: MetaSettings, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
    """The attacks of the pool at the strengths of the data set, each once."""
    return tuple(dict.fromkeys(pool(settings.attacks, settings.attack_steps, strengths)))


def check_pool(data: Split, classes: int, settings: MetaSettings) -> None:
    """Raise UsageError unless `data` has enough images of each class for the tasks asked for."""
    counts = data.labels.bincount(minlength=classes)
    absent = (counts == 0).nonzero().flatten().tolist()
    if absent:
        raise UsageError(
            f"class {absent[0]} has no images in the training split, tasks draw from each of the "
            f"{classes} classes; expected images of all of them"
        )
    if settings.task_size:
        wanted, most, where = 2 * settings.task_size, len(data), "the training split"
        said = f"task_size={settings.task_size}"
    else:
        rarest = int(counts.argmin())
        wanted, most, where = settings.shots + settings.query, int(counts.min()), f"class {rarest}"
        said = f"shots={settings.shots} and query={settings.query}"
    if wanted > most:
        raise UsageError(f"{said} need {wanted} images, {where} has {most}; ask for fewer")
    if settings.pool == "fixed" and settings.tasks > settings.pool_size:
        raise UsageError(
            f"tasks={settings.tasks}: a fixed pool has pool_size={settings.pool_size} tasks"
        )


def fixed_pool(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, rng: torch.Generator,
) -> list[Task]:  # fmt: skip
    """The tasks of a fixed pool, crafted on `model`; none if tasks are made anew.

    Which images and attacks depends on the seed of `rng` and not on what was drawn from it, so
    that a training that goes on has the same; what was crafted is in its snapshot.
    """
    if settings.pool == "rebuilt":
        return []
    whole, own = replace(settings, tasks=settings.pool_size), stream("pool", rng.initial_seed())
    return construct_adv_task_set(model, data, attacks, whole, ledger, own)


def images_of(pool: Sequence[Task]) -> dict[str, Tensor]:
    """What was crafted for a fixed pool, by place."""
    parts = {
        f"pool/{place}/{part}": images
        for place, task in enumerate(pool)
        for part, images in (("support", task.support.images), ("query", task.crafted))
    }
    return {name: images for name, images in parts.items() if images is not None}
