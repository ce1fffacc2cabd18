"""Audits as tests need them: of a record's model, with what flags they like."""

from __future__ import annotations

from benchmark.core.schema import Cost
from benchmark.results.audits import Advised, Audit, Checked, audit_path, write_audit
from benchmark.results.flags import UNDONE, Flag

ZERO = Flag(code="zero gradients", message="35% of images give none", value=0.35, threshold=0.0)
RANDOM = Flag(code="randomised", message="5 passes over the same images disagree")
UNSOUND = Flag(code=UNDONE, message="slow: over its time limit of 5 s")
ADVISED = Advised(
    attacks={"aa_linf": 0.5, "square": 0.25, "rays": None}, n=200, robust=0.2,
    interval=(0.15, 0.26),
)  # fmt: skip


def audit_of(record, *flags, parts=None, planned=None, images=200, **changes) -> Audit:
    """Of the model of a record: one part `model` with these flags, unless there are others."""
    cell, known = record.cell, record.fingerprint
    parts = {"model": Checked(flags=list(flags))} if parts is None else parts
    values = {
        "dataset": cell.dataset, "network": cell.network, "defense": cell.defense,
        "seed": cell.seed, "images": images, "weights": known["weights"],
        "planned": [*parts] if planned is None else planned, "parts": parts,
        "versions": {"torch": "2.0"},
        "fingerprint": {"weights": known["weights"], "training": known.get("training", "")},
        "device": "cpu", "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return Audit(**{**values, **changes})


def rich_audit(record, **changes) -> Audit:
    """One with everything that a page can show."""
    parts = {
        "model": Checked(
            flags=[ZERO, RANDOM], cost=Cost(seconds=0.02),
            numbers={"images without a gradient": 0.35, "passes that disagree": 5, "spread": None},
        ),
        "attacks": Checked(
            numbers={f"robust accuracy under attack number {i}": i / 7 for i in range(7)},
            cost=Cost(seconds=12.5, forwards=123456, backwards=98765),
        ),
        "adaptation": Checked(skipped="nothing adapts: the defense has no inner loop"),
        "slow": Checked(skipped="over its time limit of 5 s; --part-time gives more",
                        flags=[UNSOUND]),
    }  # fmt: skip
    return audit_of(
        record, parts=parts, planned=[*parts, "binarisation"], advised=ADVISED, **changes
    )


def keep(root, record, audit):
    """Write it where it belongs; the path."""
    path = audit_path(root, record.cell, audit.images)
    write_audit(path, audit)
    return path
