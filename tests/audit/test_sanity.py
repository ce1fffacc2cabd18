"""Attacks that must not break more than others: each finding on a model that was made for it."""

import pytest
from audit_subjects import (
    BASE,
    Lottery,
    Quantised,
    Rippled,
    WholeAlone,
    planted,
    subject_of,
)
from planted_models import trained

from benchmark.audit.parts import PARTS
from benchmark.audit.sanity import BLIND, MORE, STRONG, WEAKER, compared, transfer
from benchmark.results.flags import KINDS


def pair(name):
    if name in WEAKER:
        usual, other = WEAKER[name]
        return {name: ((usual,), (other,))}
    return {name: (STRONG, (*STRONG, *{**MORE, **BLIND}[name]))}


@pytest.mark.parametrize(
    ("wrapper", "finding", "eps"),
    [
        (WholeAlone, "one step", None),
        (Quantised, "noise", 0.5),
        (Quantised, "square", None),
        (Quantised, "rays", None),
        (Rippled, "twice the steps", None),
        (Lottery, "more restarts", None),
    ],
)
def test_planted_models(wrapper, finding, eps):
    n = 100 if finding in MORE else 60
    found = compared(planted(wrapper, n, eps), pair(finding))
    (flag,) = found.flags
    assert flag.value == pytest.approx(max(found.numbers.values()) - found.numbers[finding])
    assert flag.kind is KINDS[flag.code]


def test_examples_of_another_model_break_one_that_hides_its_gradients():
    (flag,) = transfer(planted(Quantised, 60, None)).flags
    assert flag.code == "transfer"


@pytest.mark.parametrize("defense", [BASE, "pgd_at[epochs=5]", "trades[epochs=5]"])
def test_no_part_finds_anything_in_a_sound_model(defense):
    subject = subject_of(trained(defense), n=60)
    for name in ("indicators", "curves", "sanity", "transfer", "binarisation"):
        found = PARTS[name](subject)
        assert (found.flags, found.skipped) == ([], None), name


def test_a_model_without_gradients_ends_each_part_with_the_reason():
    subject = subject_of(trained(BASE), n=10)
    blind = type(subject)(
        subject.cell, subject.trained._replace(gradient=False), subject.batch, subject.classes,
        subject.strengths, subject.attacker,
    )  # fmt: skip
    for name in ("indicators", "curves", "sanity", "transfer", "binarisation"):
        assert PARTS[name](blind).skipped == "the model gives no gradient"


def test_attacks_that_kinds_advise_are_there():
    subject = subject_of(trained(BASE), n=2)
    for kind in KINDS.values():
        for text in kind.attacks:
            subject.attack(text)


def test_what_an_attack_cannot_do_leaves_all():
    """Colours of digits, say."""
    subject = subject_of(trained(BASE), n=10)
    assert subject.left("hue_saturation").tolist() == subject.right().tolist()
