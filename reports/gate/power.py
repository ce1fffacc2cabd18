"""What the gate can see: how often it closes, by images, true drop and share of changed verdicts.

Between two runs some verdicts change sides whether or not anything is worse. The larger that share,
the more images it takes to see a drop behind it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import binom

from reports.gate.judge import Judgement, Rules
from reports.statistics.intervals import Table
from reports.statistics.paired import holm

IMAGES = (100, 300, 1000, 3000, 10_000)
DROPS = (0, 1, 2, 3, 5, 10)
"""Points that one attack truly loses."""
CHANGED = (2, 5, 10)
"""Percent of verdicts that change sides."""
ATTACKS = (1, 40)
PULLS = 1000
"""Simulated pull requests for each number of the table."""
USUAL, MOST, SEEN = 5, 50, 0.9
"""For one line on some cells: percent of verdicts that change, drops looked at, how often seen."""


def closes(
    n: int, drop: float, changed: float, rules: Rules, rng: np.random.Generator,
    *, attacks: int = 1, pulls: int = PULLS,
) -> float:  # fmt: skip
    """Share of simulated pull requests in which the gate closes.

    Verdicts of an image change independently: lost with chance (changed + drop) / 2, won with
    (changed - drop) / 2. The first attack loses `drop`, the others nothing on average.

    Args:
        n: images.
        drop: of the first attack, in points.
        changed: verdicts that change sides, in percent; at least `drop`.
        rules: the gate's.
        rng: what is drawn from.
        attacks: judged together.
        pulls: simulated pull requests.
    """
    draw = partial(_counts, n, changed, rng)
    counts = np.concatenate([draw(drop, (pulls, 1)), draw(0, (pulls, attacks - 1))], axis=1)
    lost, won = counts[..., 0], counts[..., 1]
    fell = 100 * (lost - won) > rules.tolerance * n
    return float(np.mean((fell & (holm(_p(lost, won)) < rules.alpha)).any(axis=1)))


def seen_drop(judgement: Judgement) -> str:
    """In one line, the smallest drop of one cell that these cells show nine times of ten."""
    sizes = [one.pair[0].table.shape[1] for one in judgement.entries if one.pair]
    if not sizes:
        return ""
    n, cells, rng = int(np.median(sizes)), len(sizes), np.random.default_rng(0)
    for drop in range(1, MOST + 1):
        share = closes(n, drop, max(drop, USUAL), judgement.rules, rng, attacks=cells, pulls=200)
        if share >= SEEN:
            return (
                f"on {n} images a drop of {drop} points in one of {cells} cells is seen nine times "
                f"of ten (where {max(drop, USUAL)}% of the verdicts change sides)"
            )
    return f"on {n} images a drop of {MOST} points in one of {cells} cells is not seen reliably"


def _counts(
    n: int, changed: float, rng: np.random.Generator, drop: float, size: tuple[int, int]
) -> Table:
    lost, won = (changed + drop) / 200, (changed - drop) / 200
    found: Table = rng.multinomial(n, [lost, won, 1 - lost - won], size=size)
    return found


def _p(lost: Table, won: Table) -> Table:
    """What `paired.sign_flip` gives for one episode, McNemar's exact test, for many at once."""
    p: Table = np.minimum(1.0, 2 * binom.cdf(np.minimum(lost, won), lost + won, 0.5))
    return p


def power_table(rules: Rules, seed: int = 0) -> pd.DataFrame:
    """A row for each number of attacks, share of changed verdicts and number of images.

    Columns `attacks`, `changed` (percent), `n`, then DROPS: the share of pull requests that are
    red, null where a drop needs more changes than there are. Of `0` they are false alarms.
    """
    rng = np.random.default_rng(seed)
    table = [
        {"attacks": attacks, "changed": changed, "n": n}
        | {
            str(drop): closes(n, drop, changed, rules, rng, attacks=attacks)
            for drop in DROPS
            if drop <= changed
        }
        for attacks in ATTACKS
        for changed in CHANGED
        for n in IMAGES
    ]
    return pd.DataFrame(table, columns=["attacks", "changed", "n", *map(str, DROPS)])
