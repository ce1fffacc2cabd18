"""What behaves otherwise has another version: else records would go on being believed."""

from __future__ import annotations

import json

import golden_values
import pytest
from golden_values import FILE, KINDS, ROOT, SHARED, golden, names

from attacks.gradient import PGDLinf

ANEW = "write the golden values anew: python -m pytest tests/identity/test_golden.py --write-golden"
CLOSE = 0.01
"""Share by which a number may differ: far more than rounding, far less than another step size."""
TIES = 8
"""One number in so many may be another: where an attack picks the best of its tries, the last bits
of a processor's arithmetic decide a tie (`pixle` on AMD and on Intel)."""


def alike(known, now):
    if isinstance(known, float) or isinstance(now, float):
        return now == pytest.approx(known, rel=CLOSE, abs=1e-5)
    if isinstance(known, dict):
        return known.keys() == now.keys() and all(alike(known[key], now[key]) for key in known)
    if isinstance(known, list):
        return (
            len(known) == len(now)
            and sum(not alike(*pair) for pair in zip(known, now, strict=True)) <= len(known) // TIES
        )
    return known == now


def check(kind, name, kept):
    version, now = KINDS[kind](name)
    known = kept.get(f"{kind} {name}")
    assert known is not None, f"{name} is new: {ANEW}"
    assert known["version"] == version, f"{name} has a new version: {ANEW}"
    assert alike(known["numbers"], now), (
        f"{name} behaves otherwise than its version {version} did: declare version {version + 1} "
        f"(or mend it), and {ANEW}\nwas {known['numbers']}\nis  {now}"
    )


@pytest.mark.parametrize(("kind", "name"), names(), ids=[" ".join(one) for one in names()])
def test_what_behaves_otherwise_has_another_version(kind, name, request):
    if request.config.getoption("--write-golden"):
        version, numbers = KINDS[kind](name)
        kept = json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}
        kept[f"{kind} {name}"] = {"version": version, "numbers": numbers}
        FILE.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n", "utf-8")
        golden.cache_clear()
    check(kind, name, golden())


def test_nothing_is_kept_of_what_is_gone():
    assert golden().keys() == {f"{kind} {name}" for kind, name in names()}


def test_every_folder_that_declares_a_version_is_held_to_it():
    declaring = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for package in ("attacks", "baselines", "benchmark", "reports")
        for path in (ROOT / package).rglob("__init__.py")
        if "\nVERSION = " in path.read_text("utf-8")
    }
    assert declaring == SHARED.keys()


# The test can fail.


def test_another_step_size_turns_it_red(monkeypatch):
    genuine = golden_values.build_attack
    monkeypatch.setattr(
        golden_values, "build_attack",
        lambda name, strengths: genuine(f"{name}[step_size=0.03]", strengths),
    )  # fmt: skip
    with pytest.raises(AssertionError, match="pgd_linf behaves otherwise than its version 1 did"):
        check("attack", "pgd_linf", golden())


def test_a_new_version_asks_for_new_values(monkeypatch):
    monkeypatch.setattr(PGDLinf, "version", 2)
    with pytest.raises(AssertionError, match="pgd_linf has a new version: write the golden"):
        check("attack", "pgd_linf", golden())


def test_a_new_attack_asks_for_its_values():
    with pytest.raises(AssertionError, match="pgd_linf is new: write the golden"):
        check("attack", "pgd_linf", {})
