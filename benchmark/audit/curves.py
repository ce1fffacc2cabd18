"""Accuracy under attack against its size and its steps: it may only fall (Carlini et al. 2019)."""

from __future__ import annotations

from torch import Tensor

from attacks.engine.ball import BallAttack
from benchmark.audit.compared import LEAST, gain, share
from benchmark.audit.subject import Subject
from benchmark.results.audits import Checked
from benchmark.results.flags import Flag

TIMES = (0.25, 0.5, 1, 2, 4)
"""Radii, in those of the data set, after 0 and before all of [0, 1]."""
STEPS = (1, 2, 5, 10, 40, 100)


def curves(subject: Subject) -> Checked:
    """PGD in linf, at every radius and with every number of steps."""
    if not subject.trained.gradient:
        return Checked(skipped="the model gives no gradient")
    attack = subject.attack("pgd_linf")
    assert isinstance(attack, BallAttack)
    eps = attack.eps
    sizes = [*(round(eps * times, 6) for times in TIMES if eps * times < 1), 1.0]
    by_size = {"eps 0": subject.right()}
    by_size |= {f"eps {size:g}": subject.left(f"pgd_linf[eps={size}]") for size in sizes}
    by_steps = {f"{steps} steps": subject.left(f"pgd_linf[steps={steps}]") for steps in STEPS}
    both = {**by_size, **by_steps}
    return Checked(
        flags=[*rises(by_size), *rises(by_steps)],
        numbers={name: share(standing) for name, standing in both.items()},
    )


def rises(curve: dict[str, Tensor]) -> list[Flag]:
    """A flag where more images stand than at a place before, whichever left the fewest.

    `curve`: by place, in order, the images that stand: bool (n,).
    """
    names = list(curve)
    best = names[0]
    for name in names[1:]:
        more = gain(curve[name], curve[best])
        if more is not None:
            told = f"at {name} {more:.1%} of images more stand than at {best}"
            return [Flag(code="not monotone", message=told, value=more, threshold=LEAST)]
        if share(curve[name]) < share(curve[best]):
            best = name
    return []
