"""What the records of an adapted model say against it: no attack runs here.

The audit runs a small plan for them: K shots, three episodes or more, with the attacker who knows
the rule (`run --rule`), on validation images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from benchmark.audit.evidence import LEVEL, fewer, half_width
from benchmark.protocol.integrity import UNMOVED
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag
from benchmark.results.records import Outcome, Record, Verdicts, fell
from reports.statistics.paired import change

POINTS = 2.0
"""Static over re-attacked, and a gain that counts, in points [T]; from 4.8 in the literature."""
FELL = 0.9
"""Share of episodes whose support loss must fall [T]."""
Look = Callable[[Outcome], Flag | None]


def adaptation(records: Iterable[Record]) -> Checked:
    """What is wrong with a model that adapts, from its records under several attacks.

    Args:
        records: of one model and one number of shots; those in which nothing adapts do not count.
    """
    adapting = [record for record in records if record.cell.budget.adapts]
    found = {one.cell.attack: one.outcome for one in adapting if one.outcome is not None}
    flags = [Flag(code="adaptation", message=str(one.reason)) for one in adapting if unmoved(one)]
    if not found and not flags:
        reasons = [f"{one.cell.attack}: {one.reason}" for one in adapting]
        return Checked(skipped="; ".join(reasons) or "nothing adapts: it was audited with 0 shots")
    numbers: dict[str, float | None] = {}
    for attack, outcome in found.items():
        numbers |= {f"{attack}: {name}": value for name, value in measured(outcome).items()}
        looks: Sequence[Look] = (
            support_loss, partial(inflation, tests=len(found)), partial(rule, tests=len(found)),
            partial(draw, tests=len(found)),
        )  # fmt: skip
        seen = [flag for look in looks if (flag := look(outcome))]
        flags += [flag.model_copy(update={"message": f"{attack}: {flag.message}"}) for flag in seen]
    return Checked(flags=flags, numbers=numbers)


def unmoved(record: Record) -> bool:
    """Whether a cell failed since adapting did not move parameters, or moved something else."""
    return record.status == "failed" and str(record.reason).startswith(UNMOVED)


def measured(outcome: Outcome) -> dict[str, float | None]:
    """What the flags are about, for one attack; shares, and distances of the parameters."""
    before, static, again = map(_mean, (outcome.before, outcome.static, outcome.reattacked))
    gains = gains_of(outcome)
    known = outcome.rule
    return {
        "robust before": before,
        "static": static,
        "reattacked": again,
        "inflation": static - again,
        "known rule": None if known is None else _mean(known),
        "gain": again - before,
        "least gain of a draw": float(gains.min()),
        "most gain of a draw": float(gains.max()),
        "least moved": min(outcome.moved),
        "support loss fell": fell(outcome.support_loss),
    }


def support_loss(outcome: Outcome) -> Flag | None:
    """A flag where the loss on what was shown fell in too few episodes."""
    share = fell(outcome.support_loss)
    if share >= FELL:
        return None
    message = f"the loss on what was shown fell in {share:.0%} of {outcome.episodes} episodes"
    return Flag(code="support loss", message=message, value=share, threshold=FELL)


def inflation(outcome: Outcome, tests: int = 1) -> Flag | None:
    """A flag where stored examples leave more standing than attacks on the adapted model."""
    found = fewer(outcome.static.unpack(), outcome.reattacked.unpack(), POINTS, tests)
    if found is None:
        return None
    message = f"stored examples leave {found.before:.1%} right, attacked again {found.after:.1%}"
    value = found.before - found.after
    return Flag(code="inflation", message=message, value=value, threshold=POINTS / 100)


def rule(outcome: Outcome, tests: int = 1) -> Flag | None:
    """A flag where who knows the rule alone breaks more than who attacks the adapted model.

    By more than half of the interval of what the latter leaves.
    """
    if outcome.rule is None:
        return None
    again = outcome.reattacked.unpack()
    margin = half_width(again)
    found = fewer(again, outcome.rule.unpack(), 100 * margin, tests)
    if found is None:
        return None
    message = f"who knows the rule leaves {found.after:.1%} right, the attack {found.before:.1%}"
    return Flag(code="rule", message=message, value=found.before - found.after, threshold=margin)


def draw(outcome: Outcome, tests: int = 1) -> Flag | None:
    """A flag where one draw of the support gains, and another on the same images does not.

    The most against the least of several: each pair of draws is a test.
    """
    again, gains = outcome.reattacked.unpack(), gains_of(outcome)
    best, worst = int(gains.argmax()), int(gains.argmin())
    if 100 * gains[best] < POINTS or gains[worst] > 0:
        return None
    level = LEVEL / (tests * len(gains) ** 2)
    rivals = outcome.before.unpack(), again[worst][None]
    if not all(change(one, again[best][None]).p < level for one in rivals):
        return None
    message = (
        f"adapting gains {100 * gains[best]:+.1f} points in one draw of what is shown, "
        f"{100 * gains[worst]:+.1f} in another"
    )
    return Flag(code="draw", message=message, value=float(gains[worst]), threshold=0.0)


def gains_of(outcome: Outcome) -> np.ndarray:
    """What each draw of the support gained over the trained model, attacked anew: (episodes,)."""
    gains: np.ndarray = outcome.reattacked.unpack().mean(axis=1) - _mean(outcome.before)
    return gains


def _mean(verdicts: Verdicts) -> float:
    return float(verdicts.unpack().mean())
