"""Leave one out, as one row: defenses that differ in one option count as one defense.

Where each attack is scored on a model whose training pool went without its family, a defense is
trained once for each family, and every such training has cells of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec

CELL = [
    "dataset", "network", "defense", "seed", "attack", "method", "knowledge", "shots", "steps",
    "lr", "shown",
]  # fmt: skip
"""What may be there once: two numbers for it could not both be true."""


def joined(frame: pd.DataFrame, option: str) -> pd.DataFrame:
    """The tidy frame with `option` taken out of the names of defenses that leave something out.

    One that trained on the families of all that it is scored on, an oracle, stays as it is.
    Where that joins any, `lr` is 0 on their rows and `weights` are not known: each is a model of
    its own, and may adapt with a rate of its own.

    Raises:
        UsageError: no defense there has the option, or two that would be one score the same cell.
    """
    oracles = {*frame["defense"]} - {*frame.loc[frame["unseen"].ne(False), "defense"]}
    names = {
        name: name if name in oracles else without(name, option)
        for name in frame["defense"].unique()
    }
    if all(name == other for name, other in names.items()):
        raise UsageError(f"--join {option}: no defense here has an option of that name")
    changed = frame["defense"] != frame["defense"].map(names)
    one = frame.assign(
        defense=frame["defense"].map(names), weights=frame["weights"].where(~changed, ""),
        lr=frame["lr"].where(~changed | ~frame["adapts"], 0.0),
    )  # fmt: skip
    twice = one[one.duplicated(CELL, keep=False)]
    if len(twice):
        first = twice.iloc[0]
        raise UsageError(
            f"--join {option}: {first['defense']} would have {len(twice)} cells where one is "
            f"expected, for instance under {first['attack']}; join defenses that score different "
            "attacks"
        )
    return one


def without(name: str, option: str) -> str:
    """The defense without an option.

    >>> without("multi_at[attacks=pgd_l2+pgd_l1,how=worst]", "attacks")
    'multi_at[how=worst]'
    """
    spec = _parsed(name)
    if option not in dict(spec.options):
        return name
    return str(Spec(spec.name, tuple(one for one in spec.options if one[0] != option)))


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """Each name without the options that all defenses of its kind share, where there are several.

    >>> told_apart(["m[a=1,b=2]", "m[a=1,b=3]", "p[a=1]"])
    {'m[a=1,b=2]': 'm[b=2]', 'm[a=1,b=3]': 'm[b=3]', 'p[a=1]': 'p[a=1]'}
    """
    kinds: defaultdict[str, dict[str, set[tuple[str, str]]]] = defaultdict(dict)
    for name in names:
        spec = _parsed(name)
        kinds[spec.name][name] = set(spec.options)
    short = {}
    for kind, options in kinds.items():
        shared = set.intersection(*options.values()) if len(options) > 1 else set()
        for name, own in options.items():
            short[name] = str(Spec(kind, tuple(sorted(own - shared))))
    return short


def _parsed(name: str) -> Spec:
    """The name as a spec; one of somebody's own, in no form we know, is all name."""
    try:
        return Spec.parse(name)
    except UsageError:
        return Spec(name)
