"""Runs the parts of an audit one after the other; whatever a model does ends one part alone."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from benchmark.audit.parts import Part
from benchmark.audit.subject import Subject
from benchmark.core.errors import OverLimit, contained, describe
from benchmark.core.isolation import kept
from benchmark.core.schema import Cost
from benchmark.core.seeding import global_state, stream
from benchmark.evaluation.verdicts import Meter
from benchmark.results.audits import Audit, Checked
from benchmark.results.flags import UNDONE, Flag

AGAIN = 1.0
"""Seconds after which code that swallowed it is told again that its time is over."""


def run_parts(
    audit: Audit, parts: Mapping[str, Part], subject: Callable[[], Subject], seconds: float,
    begun: Callable[[str], None] = lambda _: None,
) -> Iterator[Audit]:  # fmt: skip
    """The audit after each part that it lacks, or that failed before.

    Args:
        audit: as far as it has come.
        parts: what is wanted, by name.
        subject: the model under audit, asked for before each part: one may have spoiled it.
        seconds: that a part may take.
        begun: is told the name of each part before it runs.
    """
    for name, part in parts.items():
        if name in audit.parts and not audit.parts[name].failed:
            continue
        begun(name)
        checked = look(name, part, subject, seconds)
        found = {**audit.parts, name: checked}
        order = [*audit.planned, *found]
        ordered = {one: found[one] for one in order if one in found}
        audit = audit.model_copy(update={"parts": ordered})
        yield audit


def look(name: str, part: Part, subject: Callable[[], Subject], seconds: float) -> Checked:
    """What one part found; one that raises or is over its time is flagged, and says why.

    Draws from torch's own generators depend on the name of the part alone, so that an audit that
    goes on where another stopped finds the same.
    """
    begin, before, meter = time.perf_counter(), Meter(), Meter()
    try:
        with kept(), global_state(stream("audit", name)), contained(), at_most(seconds):
            asked = subject()
            meter = asked.meter
            before.add(meter)
            found = part(asked)
    except (Exception, OverLimit) as error:
        why = describe(error)
        found = Checked(flags=[Flag(code=UNDONE, message=f"{name}: {why}")], skipped=why)
    cost = Cost(
        seconds=time.perf_counter() - begin,
        forwards=max(found.cost.forwards, meter.forwards - before.forwards),
        backwards=max(found.cost.backwards, meter.backwards - before.backwards),
    )
    return found.model_copy(update={"cost": cost})


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Let the body take so many seconds: OverLimit, again and again, beyond that.

    It is seen between two steps of Python, not within one of torch; where there are no such
    signals, or in another thread than the main one, there is no limit.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(*_: object) -> None:
        raise OverLimit(f"over its time limit of {seconds:g} s; --part-time gives more")

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
        yield
    finally:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
