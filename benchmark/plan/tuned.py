"""Choices of `tune` on disk: one JSON file, a choice for each defense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.core.errors import UsageError
from benchmark.results import sealing
from benchmark.results.records import Choice
from benchmark.results.store import atomic_path, slug


class Choices(BaseModel):
    """What the file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    choices: list[Choice]


def default_path(results: Path, dataset: str, network: str) -> Path:
    """Where `tune` writes unless told otherwise."""
    return results / "tuned" / f"{slug(dataset)}-{slug(network)}.json"


def read_choices(path: Path) -> list[Choice]:
    """All choices in a file; UsageError in one line if it is none, or not as it was written.

    Files of before a hash was kept in them have none.
    """
    try:
        content = sealing.parse(path.read_bytes())
        if isinstance(content, dict) and sealing.KEY in content:
            content = sealing.opened(content)
        return Choices.model_validate(content).choices
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise UsageError(
            f"--tuned {path}: {where}: {first['msg']}; run `python -m benchmark tune` again"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--tuned {path}: {reason}; expected a file that `python -m benchmark tune` wrote"
        ) from error


def write_choices(path: Path, choices: Sequence[Choice]) -> None:
    """Add choices to a file; they take the place of earlier ones of the same trained models."""
    new = {_trained(choice): choice for choice in choices}
    old = {_trained(choice): choice for choice in read_choices(path)} if path.is_file() else {}
    merged = Choices(choices=list((old | new).values()))
    with atomic_path(path) as temporary:
        text = json.dumps(sealing.seal(merged.model_dump(mode="json")), indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def choice_for(
    choices: Sequence[Choice], path: Path, dataset: str, network: str, defense: str
) -> Choice:
    """The choice of a defense; UsageError with those there are."""
    found = {_trained(choice): choice for choice in choices}
    if (dataset, network, defense) not in found:
        known = ", ".join("/".join(key) for key in found) or "none"
        raise UsageError(
            f"--tuned {path}: no choice for {dataset}/{network}/{defense}, only for {known}; "
            f"run `python -m benchmark tune` for it, or leave the defense out"
        )
    return found[dataset, network, defense]


def settings(choice: Choice) -> dict[str, Any]:
    """What it says of a budget."""
    return {"methods": [choice.method], "steps": choice.steps, "lr": choice.lr}


def _trained(choice: Choice) -> tuple[str, str, str]:
    return choice.dataset, choice.network, choice.defense
