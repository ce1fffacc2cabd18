"""What of results a model page of the Hugging Face hub takes: `.eval_results`, and a section.

JSON is YAML, so names need no other escaping there (https://yaml.org/spec/1.2.2/, 1.3). The format:
https://huggingface.co/docs/hub/eval-results
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.tidy.aggregate import per_attack
from reports.tidy.escape import markdown, visible
from reports.tidy.format import markdown_table, percent
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
HEAD = ("attack", "threat", "K", "n", "clean@K", "robust@K (95 %)")


def eval_results(frame: pd.DataFrame) -> str:
    """The YAML for the records of one defense: a value for each data set, attack and K, in percent.

    What has a hole has no value.
    """
    entries = [
        {
            "dataset": {"id": _dataset(row.dataset), "task_id": f"{row.attack}, K={row.shots}"},
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
        lines.append(markdown_table(HEAD, map(_line, rows(part)), left=2))
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
    for row in rows(per_attack(frame)):
        if row.status == "done":
            yield row


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
    texts = markdown(row.attack, NOTE), markdown(row.threat)
    return (*texts, str(row.shots), n, percent(row.clean), number)


def _audits(frame: pd.DataFrame) -> list[str]:
    return [markdown(text, NOTE) for text in dict.fromkeys(frame["audit"])] or [NOT_AUDITED]


def _flags(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(flag for flags in frame["flags"] for flag in flags))
