"""Rows from torchattacks that follow a gradient inside an eps-ball: FGSM, PGD and their kin.

Many are near-duplicates (bim, rfgsm and ta_pgd_linf; mifgsm and nifgsm; vmifgsm and vnifgsm):
read them by family and by the worst case, never as a plain mean.
"""

from __future__ import annotations

from typing import Any

from attacks.libraries.torchattacks_adapter import Arguments, Call, LibraryAttack, offer, stepped

# 20 steps of 2.5 * eps / steps: twice the library's own number, and able to cross the ball 2.5
# times; our own PGD makes 40. Where one step costs several gradients, fewer steps, never below
# the published 10.
STEPS: dict[str, Any] = {"steps": 20, "step_size": None}
FEW_STEPS: dict[str, Any] = {"steps": 10, "step_size": None}


def momentum(attack: Any, call: Call) -> Arguments:
    """As `stepped`, with momentum."""
    return {**stepped(attack, call), "decay": attack.decay}


def nesterov(attack: Any, call: Call) -> Arguments:
    """As `momentum`, with steps of eps / steps (Lin et al. 2020): longer ones overshoot."""
    return {**momentum(attack, call), "alpha": attack.step_size or attack.eps / attack.steps}


def variance(attack: Any, call: Call) -> Arguments:
    """VMI and VNI: gradient variance over neighbours within 1.5 * eps (Wang & He 2021)."""
    return {**momentum(attack, call), "N": attack.neighbours, "beta": 1.5}


def diverse(attack: Any, call: Call) -> Arguments:
    """DI and TI: gradients through a random resize and pad with probability 0.5 (Xie 2019)."""
    resize = {"resize_rate": 0.9, "diversity_prob": 0.5, "random_start": False}
    return {**momentum(attack, call), **resize}


def projected_noise(attack: Any, call: Call) -> Arguments:
    """PI-FGSM: `max_epsilon` is eps; `momentum` and `prob` are accepted by the library, unused."""
    amplified = {"amplification": attack.amplification, "momentum": 1.0, "prob": 0.7}
    return {"max_epsilon": attack.eps, "num_iter_set": attack.steps, **amplified}


SINGLE_STEP = (
    LibraryAttack("ta_fgsm", "FGSM", "linf-gradient", "linf",
        "FGSM (Goodfellow et al. 2015), torchattacks' version.",
        {}, lambda attack, call: {"eps": attack.eps}, lambda attack: 2, draws=False),
    LibraryAttack("ffgsm", "FFGSM", "linf-gradient", "linf",
        "FGSM from a random start with a step of 1.25 eps (Wong et al. 2020).",
        {}, lambda attack, call: {"eps": attack.eps, "alpha": 1.25 * attack.eps},
        lambda attack: 2),
)  # fmt: skip

ITERATIVE = (
    LibraryAttack("bim", "BIM", "linf-gradient", "linf",
        "PGD from the image itself (Kurakin et al. 2017).",
        STEPS, stepped, lambda attack: 2 * attack.steps, draws=False),
    LibraryAttack("rfgsm", "RFGSM", "linf-gradient", "linf",
        "PGD from a random sign step (Tramer et al. 2018).",
        STEPS, stepped, lambda attack: 2 * attack.steps),
    LibraryAttack("ta_pgd_linf", "PGD", "linf-gradient", "linf",
        "PGD (Madry et al. 2018), torchattacks' version: returns the last iterate.",
        STEPS, lambda attack, call: {**stepped(attack, call), "random_start": True},
        lambda attack: 2 * attack.steps),
    LibraryAttack("ta_pgd_l2", "PGDL2", "l2-gradient", "l2",
        "PGD in l2 (Madry et al. 2018), torchattacks' version: returns the last iterate.",
        STEPS,
        lambda attack, call: {
            **stepped(attack, call), "random_start": True, "eps_for_division": 1e-10},
        lambda attack: 2 * attack.steps),
    LibraryAttack("eotpgd", "EOTPGD", "linf-gradient", "linf",
        "PGD on gradients summed over `samples` forward passes, for random defenses (Liu 2019).",
        {"steps": 20, "step_size": None, "samples": 2},
        lambda attack, call: {
            **stepped(attack, call), "eot_iter": attack.samples, "random_start": True},
        lambda attack: 2 * attack.steps * attack.samples),
    LibraryAttack("tpgd", "TPGD", "linf-gradient", "linf",
        "TRADES' inner attack (Zhang et al. 2019). Weak: it ignores the labels.",
        STEPS, stepped, lambda attack: 2 * attack.steps + 1, inexact="it ignores the labels"),
    LibraryAttack("jitter", "Jitter", "linf-gradient", "linf",
        "Noisy, rescaled softmax against the one-hot label (Schwinn et al. 2021).",
        STEPS,
        lambda attack, call: {
            **stepped(attack, call), "scale": 10, "std": 0.1, "random_start": True},
        lambda attack: 2 * attack.steps),
)  # fmt: skip

MOMENTUM = (
    LibraryAttack("mifgsm", "MIFGSM", "linf-gradient", "linf",
        "Momentum (Dong et al. 2018).",
        {**STEPS, "decay": 1.0}, momentum, lambda attack: 2 * attack.steps, draws=False),
    LibraryAttack("nifgsm", "NIFGSM", "linf-gradient", "linf",
        "Nesterov momentum (Lin et al. 2020).",
        {**STEPS, "decay": 1.0}, nesterov, lambda attack: 2 * attack.steps, draws=False),
    LibraryAttack("sinifgsm", "SINIFGSM", "linf-gradient", "linf",
        "Nesterov momentum over `copies` darker copies of the image (Lin et al. 2020).",
        {**FEW_STEPS, "decay": 1.0, "copies": 5},
        lambda attack, call: {**nesterov(attack, call), "m": attack.copies},
        lambda attack: 2 * attack.steps * attack.copies, draws=False),
    LibraryAttack("vmifgsm", "VMIFGSM", "linf-gradient", "linf",
        "Momentum with gradient variance over `neighbours` (Wang & He 2021).",
        {**FEW_STEPS, "decay": 1.0, "neighbours": 5}, variance,
        lambda attack: 2 * attack.steps * (attack.neighbours + 1)),
    LibraryAttack("vnifgsm", "VNIFGSM", "linf-gradient", "linf",
        "Nesterov momentum with gradient variance over `neighbours` (Wang & He 2021).",
        {**FEW_STEPS, "decay": 1.0, "neighbours": 5}, variance,
        lambda attack: 2 * attack.steps * (attack.neighbours + 1)),
    LibraryAttack("upgd", "UPGD", "linf-gradient", "linf",
        "PGD with momentum and a choice of loss; with `ce` it would repeat mifgsm.",
        {**STEPS, "decay": 1.0, "loss": ("dlr", "ce")},
        lambda attack, call: {
            **momentum(attack, call), "random_start": False, "loss": attack.loss, "eot_iter": 1},
        lambda attack: 2 * attack.steps, draws=False),
    LibraryAttack("difgsm", "DIFGSM", "linf-gradient", "linf",
        "Momentum through random resizing (Xie et al. 2019).",
        {**STEPS, "decay": 1.0}, diverse, lambda attack: 2 * attack.steps,
        inexact="it follows gradients of randomly resized images"),
    LibraryAttack("tifgsm", "TIFGSM", "linf-gradient", "linf",
        "Momentum on gradients blurred by a `kernel_size` Gaussian (Dong et al. 2019).",
        {**STEPS, "decay": 1.0, "kernel_size": 7, "diversity": 0.5},
        lambda attack, call: {
            **diverse(attack, call), "diversity_prob": attack.diversity,
            "kernel_name": "gaussian", "len_kernel": attack.kernel_size, "nsig": 3},
        lambda attack: 2 * attack.steps, channels=3, inexact="it blurs the gradient"),
    LibraryAttack("pifgsm", "PIFGSM", "linf-gradient", "linf",
        "Patch-wise: what exceeds eps moves to the neighbouring pixels (Gao et al. 2020).",
        {"steps": 10, "amplification": 10.0}, projected_noise,
        lambda attack: 2 * attack.steps, channels=3,
        inexact="it moves steps to neighbouring pixels"),
    LibraryAttack("pifgsmpp", "PIFGSMPP", "linf-gradient", "linf",
        "Patch-wise with blurred gradients (Gao et al. 2020b).",
        {"steps": 10, "amplification": 10.0},
        lambda attack, call: {**projected_noise(attack, call), "project_factor": 0.8},
        lambda attack: 2 * attack.steps, channels=3,
        inexact="it moves steps to neighbouring pixels"),
)  # fmt: skip

for row in (*SINGLE_STEP, *ITERATIVE, *MOMENTUM):
    offer(row, __name__)
