"""What of results a model page of the Hugging Face hub takes: `.eval_results`, and a section.

JSON is YAML, so names need no other escaping there (https://yaml.org/spec/1.2.2/, 1.3). The format,
as of August 2026: https://huggingface.co/docs/hub/eval-results, and `eval_results.yaml` of
huggingface/hub-docs, field by field. Required are `dataset.id`, `dataset.task_id`
and `value`; of the others `notes` is given. Without `date` it is that of the commit.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.tidy.aggregate import per_attack
from reports.tidy.escape import markdown, visible
from reports.tidy.format import adaptations, markdown_table, percent
from reports.tidy.frame import NOT_AUDITED, rows

HUB = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "svhn": "ufldl-stanford/svhn",
}
"""What listed data sets are called on the hub; another one keeps its name."""
NOTE = 400
"""Letters of a note."""
HEAD = ("attack", "threat", "adaptation", "K", "n", "clean@K", "robust@K (95 %)")


def eval_results(frame: pd.DataFrame) -> str:
    """The YAML for the records of one defense: a value for each data set, attack and K, in percent.

    What has a hole has no value.
    """
    entries = [
        {
            "dataset": {"id": _dataset(row.dataset), "task_id": row.task},
            "value": round(100 * row.robust, 2),
            "notes": visible(_note(row), NOTE),
        }
        for row in _done(frame)
    ]
    return json.dumps(entries, indent=1, allow_nan=False) + "\n"


def model_card(frame: pd.DataFrame) -> str:
    """A section of a model card in Markdown, for the records of one defense."""
    attacks = per_attack(frame)
    lines = ["## Robustness\n"]
    for (dataset, network), part in attacks.groupby(["dataset", "network"], sort=False):
        lines.append(f"{markdown(str(dataset))}, {markdown(str(network))}:\n")
        told = part.assign(adaptation=adaptations(part))
        lines.append(markdown_table(HEAD, map(_line, rows(told)), left=3))
    lines.append(
        "Percent correct with 95 % intervals. robust@K: after adapting to K images of each class "
        "under the attack, per image the worse of the examples crafted before and after "
        f"(Reattack). Audit: {', '.join(_audits(frame))}.\n"
    )
    lines += [f"- doubt: {markdown(flag, NOTE)}" for flag in _flags(frame)]
    return "\n".join(lines).rstrip() + "\n"


def _dataset(name: str) -> str:
    return HUB.get(name, name.removeprefix("hf:"))


def _done(frame: pd.DataFrame) -> Iterator[Any]:
    table = per_attack(frame)
    for row in rows(table.assign(task=_tasks(table))):
        if row.status == "done":
            yield row


def _tasks(table: pd.DataFrame) -> list[str]:
    """Attack and K of each line; network and adaptation where only they tell values apart."""
    short = [f"{row.attack}, K={row.shots}" for row in rows(table)]
    known = Counter(zip(table["dataset"], short, strict=True))
    more = zip(table["dataset"], short, table["network"], adaptations(table), strict=True)
    return [
        task if known[dataset, task] == 1 else f"{task}, {network}, {adaptation}"
        for dataset, task, network, adaptation in more
    ]


def _note(row: Any) -> str:
    interval, k = percent(row.robust, row.robust_interval), row.shots
    return (
        f"robust@{k}, {row.threat}: {interval}, 95 %; n = {row.n}, episodes = {row.episodes}, "
        f"training seeds = {row.seeds}; clean@{k} {percent(row.clean)}; {row.defense}"
    )


def _line(row: Any) -> tuple[str, ...]:
    done = row.status == "done"
    number = percent(row.robust, row.robust_interval) if done else markdown(row.status)
    n = str(row.n) if done else ""
    texts = markdown(row.attack, NOTE), markdown(row.threat), markdown(row.adaptation)
    return (*texts, str(row.shots), n, percent(row.clean), number)


def _audits(frame: pd.DataFrame) -> list[str]:
    return [markdown(text, NOTE) for text in dict.fromkeys(frame["audit"])] or [NOT_AUDITED]


def _flags(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(flag for flags in frame["flags"] for flag in flags))
