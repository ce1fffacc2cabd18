"""`strength=low`, `medium` and `high` of every attack on every data set, by what its file says."""

import pytest

from attacks import ATTACKS
from attacks.build import build_attack, by_rule, strengths_of
from benchmark.core.errors import UsageError

SHAPES = {
    "digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion_mnist": (1, 28, 28), "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32), "svhn": (3, 32, 32), "own": (3, 224, 224), "odd": (1, 9, 13),
}  # fmt: skip


@pytest.mark.parametrize("dataset", SHAPES)
@pytest.mark.parametrize("strength", ["low", "high"])
def test_every_attack_has_both_wherever_it_can_run(dataset, strength):
    shape = SHAPES[dataset]
    strengths = strengths_of(dataset, shape)
    for name in ATTACKS.names():
        medium = build_attack(name, strengths)
        if str(medium.threat).endswith("unbounded"):
            continue  # of ART: no option says how far they go
        other = build_attack(f"{name}[strength={strength}]", strengths)
        assert medium.cannot_run(shape, 10) == other.cannot_run(shape, 10), name
        counted = [getattr(medium, option, 0) for option in medium.low_and_high]
        least = strength == "low" and all(value in (0, 1) for value in counted)
        assert (other != medium) or least, name
        assert other.by_rule == medium.by_rule


def test_medium_is_what_it_is_without_a_word():
    strengths = strengths_of("cifar10")
    for name in ATTACKS.names():
        medium = build_attack(f"{name}[strength=medium]", strengths)
        assert medium == build_attack(name, strengths), name


@pytest.mark.parametrize(
    ("spec", "option", "value"),
    [
        ("pgd_linf[strength=low]", "eps", 4 / 255),
        ("pgd_linf[strength=high]", "eps", 16 / 255),
        ("pgd_l2[eps=3,strength=high]", "eps", 6.0),
        ("jsma[strength=high]", "eps", 24),
        ("rotation_translation[strength=high]", "degrees", 45),
        ("rotation_translation[strength=high]", "shift", 4),
        ("occlusion[strength=low]", "side", 5),
        ("hue_saturation[strength=high]", "saturation", 1.0),
        ("low_pass[strength=high]", "kept", 0.25 * 2 / 3),
        ("pgd_linf[strength=high]", "steps", 40),
    ],
)
def test_what_it_multiplies(spec, option, value):
    attack = build_attack(spec, strengths_of("cifar10"))
    assert getattr(attack, option) == pytest.approx(value)


def test_a_strength_by_rule_stays_one():
    shape = (3, 48, 48)
    attack = build_attack("pgd_l2[strength=high]", strengths_of("own", shape))
    assert attack.by_rule
    assert attack.eps == pytest.approx(2 * by_rule(shape)["l2"]["eps"])


def test_another_word_is_refused():
    with pytest.raises(UsageError, match="expected one of low, medium, high"):
        build_attack("fgsm[strength=5]", strengths_of("digits"))


@pytest.mark.parametrize(
    ("spec", "text", "by_rule"),
    [
        ("fgsm", "", True),
        ("fgsm[eps=0.1]", "", False),
        ("fgsm", "linf = { eps = 0.1 }", False),
        ("fgsm", "fgsm = { eps = 0.1 }", False),
        ("fgsm", "fgm_l2 = { eps = 0.1 }", True),
        ("rotation_translation", "spatial = { degrees = 5 }", True),
        ("rotation_translation", "spatial = { degrees = 5, shift = 1 }", False),
        ("rotation_translation[degrees=5,shift=1]", "", False),
        ("rotation_translation[degrees=5]", "rotation_translation = { shift = 1 }", False),
    ],
)
def test_an_attack_is_by_rule_while_the_rule_says_one_of_its_options(spec, text, by_rule):
    assert build_attack(spec, strengths_of("own", (3, 32, 32), text)).by_rule == by_rule
