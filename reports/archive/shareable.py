"""Records as others may see them: file names without the folders of whoever made them.

What is printed, ranked or sent goes through here once. Verdicts, hashes and numbers stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmark.core.schema import short_hash
from benchmark.results.answers import Answers, same
from benchmark.results.cells import Cell
from benchmark.results.records import Provenance, Record
from reports.archive.paths import bare, command, label, option, places, without


class Model(NamedTuple):
    """What tells a trained model from others: its weights, and what it answers with them."""

    weights: str
    answers: Answers | None
    code: str = ""
    """Of a user's file: equal answers may have other gradients."""

    def may_be(self, other: Model) -> bool:
        """Whether both are one, as far as is known."""
        if not self.weights or self.weights != other.weights:
            return False
        if self.code and other.code and self.code != other.code:
            return False
        if self.answers is None or other.answers is None:
            return True
        return same(self.answers, other.answers)


Models = dict[int, Model]
"""By training seed."""


def names(records: Iterable[Record], here: bool = False) -> dict[tuple[str, str, str], str]:
    """By data set, network and defense: its `label`, with a hash where two models would share it.

    The hash is of weights, answers and a file's code, so that it is the same wherever the file
    lies. `here`, where nobody else looks, files of one name show the folders that tell them apart
    instead, whatever is in them.
    """
    models: defaultdict[tuple[str, str, str], Models] = defaultdict(dict)
    for record in records:
        cell, found = record.cell, _model(record)
        known = models[cell.dataset, cell.network, cell.defense]
        if not known.setdefault(cell.seed, found).weights:
            known[cell.seed] = found
    sharing: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for dataset, network, defense in models:
        sharing[dataset, network, label(defense)].append(defense)
    return {
        (dataset, network, defense): short
        if _same([models[dataset, network, one] for one in defenses], here and _is_file(defense))
        else _marked(short, defense, models[dataset, network, defense], here)
        for (dataset, network, short), defenses in sharing.items()
        for defense in defenses
    }


def _model(record: Record) -> Model:
    known = record.fingerprint
    code = known.get("training", "") if _is_file(record.cell.defense) else ""
    return Model(known.get("weights", ""), record.answers, code)


def _is_file(defense: str) -> bool:
    """Whether it is somebody's own, `folder/file.py:NAME`."""
    return ".py:" in defense.partition("[")[0]


def _same(models: Sequence[Models], told: bool) -> bool:
    """Whether all are one model, as far as is known; if they are `told` apart, one is all."""
    first, *others = models
    return not (told and others) and all(
        first.keys() == other.keys() and all(first[seed].may_be(other[seed]) for seed in first)
        for other in others
    )


def _marked(short: str, defense: str, models: Models, here: bool) -> str:
    if here and _is_file(defense):
        return defense
    known: object = defense
    if all(model.weights for model in models.values()):
        known = [
            (seed, model.weights, model.answers and model.answers.logits, model.code)
            for seed, model in sorted(models.items())
        ]
    mark = f"@{short_hash(known)[:8]}"
    return f"{short[:-1]}{mark}]" if short.endswith("]") else f"{short}{mark}"


def shareable(records: Sequence[Record], here: bool = False) -> list[Record]:
    """The records, in order, with nothing that names a folder of the machine they come from.

    `here`: see `names`.
    """
    known = names(records, here)
    return [
        _shareable(one, known[one.cell.dataset, one.cell.network, one.cell.defense])
        for one in records
    ]


_KEPT = {
    "schema_version", "content", "cell", "provenance", "status", "query", "unseen",
    "unseen_by_name", "outcome", "answers", "cost", "training", "fingerprint",
}  # fmt: skip
"""What says nothing of places, or is looked at by itself."""


def _shareable(record: Record, defense: str) -> Record:
    cell, provenance = record.cell.model_dump(), record.provenance.model_dump()
    known = tuple(sorted({*_places(provenance)}, key=len, reverse=True))
    texts = {name: getattr(record, name) for name in {*Record.model_fields} - _KEPT}
    return record.model_copy(
        update=_walked(texts, known) | {
            "cell": Cell.model_validate(_walked(cell, known) | {"defense": defense}),
            "provenance": Provenance.model_validate(_walked(provenance, known)),
        }
    )  # fmt: skip


def _places(provenance: dict[str, Any]) -> Iterator[str]:
    """What a record itself calls a place: whatever letters it is made of, it is known elsewhere."""
    options = [provenance["attack_options"], provenance["defense_options"]]
    named = [value for found in options for value in found.values() if isinstance(value, str)]
    for place in (*places(provenance["command"]), *named):
        if len(place) > SHORTEST and ("/" in place or "\\" in place):
            yield place.rstrip("/\\")


SHORTEST = 3
"""Letters of what is too short to be a place wherever it stands."""
_SAYS: dict[str, Callable[[str], str]] = {
    "command": command, **dict.fromkeys(("defense", "attack", "attacks", "shown"), label),
}  # fmt: skip
"""What some fields hold besides sentences."""


def _walked(value: Any, known: tuple[str, ...], key: str = "", inside: bool = False) -> Any:
    """`value` with no folder in any of its texts.

    Args:
        value: JSON.
        known: places.
        key: its name: it says what its texts are.
        inside: whether it is an option of a component.
    """
    if isinstance(value, dict):
        inside = inside or key.endswith("_options")
        return {
            label(without(name, known)): one if name in ("dataset", "network")
            else _walked(one, known, name, inside)
            for name, one in value.items()
        }  # fmt: skip
    if isinstance(value, list | tuple):
        return [_walked(one, known, key, inside) for one in value]
    if not isinstance(value, str):
        return value
    if inside:
        return option(key, value)
    return _SAYS[key](value) if key in _SAYS else bare(without(value, known))
