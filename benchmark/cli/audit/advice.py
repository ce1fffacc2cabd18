"""`audit --follow-advice`: the attacks that flags advise, at once, as an ordinary plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.cli.audit.opening import Done
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.results.audits import Advised, Audit, write_audit
from benchmark.results.flags import STRONG

WHOLE = Suite(description="audit", attacks=",".join(STRONG), shots=[0])
"""The strongest attack stands in for those that the parts choose by themselves."""


def follow(
    done: Done, values: Mapping[str, Any], texts: Sequence[str], settings: RunSettings, quiet: bool
) -> Done:
    """Run what the flags advise, beside the strongest attack, on test images of the same model."""
    if done.audit is None:
        return done
    names = [name for flag in done.audit.flags for name in flag.kind.attacks]
    attacks = ",".join(dict.fromkeys([*STRONG, *names]))
    request = make_request({**values, "attacks": attacks})
    plan = make_plan(request, WHOLE, settings.strengths)
    plan = plan.model_copy(
        update={
            "cells": [cell for cell in plan.cells if cell.defense == done.cell.defense],
            "defenses": {done.cell.defense: plan.defenses[done.cell.defense]},
        }
    )
    if launch.fill(plan, settings, texts, quiet) is None:
        raise KeyboardInterrupt
    found = done.audit.model_copy(update={"advised": _advised(plan, settings, done.audit)})
    write_audit(done.files[0], found)
    return done._replace(audit=found)


def _advised(plan: Plan, settings: RunSettings, audit: Audit) -> Advised:
    from reports.statistics.intervals import wilson

    stood = {
        record.cell.attack: record.outcome.before.unpack()[0]
        for record in launch.records_of(plan, settings.results)
        if record.outcome and record.fingerprint.get("weights") == audit.weights
    }
    attacks = {
        cell.attack: float(stood[cell.attack].mean()) if cell.attack in stood else None
        for cell in plan.cells
    }
    if not stood:
        return Advised(attacks=attacks, n=0, robust=None, interval=None)
    worst = np.logical_and.reduce([*stood.values()])
    ends = wilson(int(worst.sum()), len(worst))
    return Advised(attacks=attacks, n=len(worst), robust=float(worst.mean()), interval=ends)
