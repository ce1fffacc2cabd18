"""What the first look at a model found, before any attack."""

from __future__ import annotations

from benchmark.audit.subject import Subject
from benchmark.results.audits import Checked


def model(subject: Subject) -> Checked:
    """The flags of `benchmark.evaluation.probe`, which looks at every model before it is scored.

    They are those of its records, whatever the number of images audited. Attacks with nothing.
    """
    accuracy = float(subject.right().float().mean())
    return Checked(flags=[*subject.trained.found], numbers={"clean accuracy": accuracy})
