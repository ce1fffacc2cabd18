"""What can only be if an attack fails: a weaker one breaks more (Carlini et al. 2019, 1902.06705).

Attacks with gradients must beat one step, noise and those without gradients, and must have
converged. Against the last ones all of STRONG stand together, so that the weakness of one loss on
a sound model is no finding: PGD on the cross-entropy alone leaves 15 of 200 images of `trades` on
digits that RayS breaks.
"""

from __future__ import annotations

from collections.abc import Mapping

from attacks.build import build_attack
from benchmark.audit.compared import LEAST, gain, share
from benchmark.audit.subject import Subject
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

PGD = "pgd_linf"
STRONG = (PGD, "pgd_linf_dlr", "aa_apgd_ce", "aa_apgd_t")
"""All that gradients can do in the ball, the cheap ones first: published AutoAttack without FAB,
which seldom adds anything, and on two losses."""
WEAKER = {
    "one step": (PGD, "fgsm"),
    "noise": (PGD, "uniform_noise"),
    "noise in l2": ("pgd_l2", "gaussian_noise"),
}
"""By finding: an attack, and one of the same budget that must not break more."""
MORE = {
    "twice the steps": (f"{PGD}[steps=80]", "aa_apgd_ce[iterations=200]"),
    "more restarts": (f"{PGD}[restarts=5]",),
}
"""What must add nothing to STRONG: the same at more cost."""
BLIND = {"square": ("aa_square[queries=1000]",), "rays": ("rays[queries=1000]",)}
"""The same, of attacks that see scores, or decisions."""
CODES = {"square": "black box", "rays": "black box", "noise in l2": "noise"}
"""Of findings that have no code of their own."""


def sanity(subject: Subject) -> Checked:
    """FGSM, noise, Square and RayS, PGD with more steps and restarts, and those of STRONG."""
    if not subject.trained.gradient:
        return Checked(skipped="the model gives no gradient")
    pairs = {name: ((usual,), (other,)) for name, (usual, other) in WEAKER.items()}
    beyond = {name: (STRONG, (*STRONG, *added)) for name, added in {**MORE, **BLIND}.items()}
    return compared(subject, {**pairs, **beyond})


def transfer(subject: Subject) -> Checked:
    """PGD on a surrogate, which is trained if there is none yet, and those of STRONG."""
    if not subject.trained.gradient:
        return Checked(skipped="the model gives no gradient")
    reason = subject.attacker.lacks(build_attack("transfer_pgd", subject.strengths))
    if reason:
        return Checked(skipped=reason)
    return compared(subject, {"transfer": (STRONG, (*STRONG, "transfer_pgd"))})


def compared(
    subject: Subject, pairs: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
) -> Checked:
    """By finding, two rows of attacks: a flag where the second breaks more than the first."""
    flags, numbers = [], dict[str, float | None]()
    for name, (usual, other) in pairs.items():
        before, after = subject.left(*usual), subject.left(*other)
        best = "all gradient attacks" if usual == STRONG else usual[-1]
        numbers |= {best: share(before), name: share(after)}
        if (more := gain(before, after)) is not None:
            told = f"{other[-1]} breaks {more:.1%} of images more than {best}"
            code = CODES.get(name, name)
            flags.append(Flag(code=code, message=told, value=more, threshold=LEAST))
    return Checked(flags=flags, numbers=numbers)
