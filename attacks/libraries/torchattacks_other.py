"""Rows from torchattacks beyond plain ascent: AutoAttack's parts, queries, minimum norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from attacks.libraries.torchattacks_adapter import Arguments, Call, LibraryAttack, offer, stepped


def auto_pgd(norm: str) -> Callable[[Any, Call], Arguments]:
    """APGD (Croce & Hein 2020) with the published rho 0.75."""
    return lambda attack, call: {
        "norm": norm, "eps": attack.eps, "steps": attack.steps, "n_restarts": attack.restarts,
        "seed": call.seed, "loss": attack.loss, "eot_iter": 1, "rho": 0.75, "verbose": False,
    }  # fmt: skip


def auto_pgd_targeted(norm: str) -> Callable[[Any, Call], Arguments]:
    """APGD-T: the most likely wrong classes in turn, at most `targets` of them."""
    return lambda attack, call: {
        "norm": norm, "eps": attack.eps, "steps": attack.steps, "n_restarts": attack.restarts,
        "seed": call.seed, "eot_iter": 1, "rho": 0.75, "verbose": False,
        "n_classes": min(call.classes, attack.targets + 1),
    }  # fmt: skip


def fast_boundary(norm: str) -> Callable[[Any, Call], Arguments]:
    """FAB (Croce & Hein 2020b), untargeted, with the published constants."""
    return lambda attack, call: {
        "norm": norm, "eps": attack.eps, "steps": attack.steps, "n_restarts": 1,
        "alpha_max": 0.1, "eta": 1.05, "beta": 0.9, "seed": call.seed, "verbose": False,
        "multi_targeted": False, "n_classes": call.classes,
    }  # fmt: skip


def squares(norm: str) -> Callable[[Any, Call], Arguments]:
    """Square (Andriushchenko et al. 2020) with AutoAttack's schedule, not the library's.

    The squares shrink with the number of queries made. With fewer than AutoAttack's 5,000 the
    schedule is compressed, or the small squares, which find most, would never come: on digits 500
    queries then break more in linf than 1,000 did.
    """
    return lambda attack, call: {
        "norm": norm, "eps": attack.eps, "n_queries": attack.queries, "n_restarts": 1,
        "p_init": 0.8, "loss": "margin", "resc_schedule": attack.queries < 5000,
        "seed": call.seed, "verbose": False,
    }  # fmt: skip


def elastic_net(attack: Any, call: Call) -> Arguments:
    """EAD (Chen et al. 2018); the search starts at 1, not 0.001, where it would find nothing."""
    return {
        "kappa": 0, "lr": attack.step_size, "binary_search_steps": attack.searches,
        "max_iterations": attack.steps, "abort_early": False, "initial_const": 1.0,
        "beta": attack.shrink,
    }  # fmt: skip


def without_filter(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """FAB in L1: the library's own filter by eps fails there (`res` is never set)."""
    return library.attack_single_run(images, labels)  # type: ignore[no-any-return]


AUTO = (
    LibraryAttack("apgd_linf", "APGD", "linf-gradient", "linf",
        "Auto-PGD (Croce & Hein 2020): chooses its own step size.",
        {"steps": 50, "restarts": 1, "loss": ("ce", "dlr")}, auto_pgd("Linf"),
        lambda attack: attack.restarts * 2 * (attack.steps + 1) + 1, by_standing=True),
    LibraryAttack("apgd_l2", "APGD", "l2-gradient", "l2",
        "Auto-PGD in l2 (Croce & Hein 2020).",
        {"steps": 50, "restarts": 1, "loss": ("ce", "dlr")}, auto_pgd("L2"),
        lambda attack: attack.restarts * 2 * (attack.steps + 1) + 1, by_standing=True),
    LibraryAttack("apgdt_linf", "APGDT", "linf-gradient", "linf",
        "Auto-PGD on the targeted DLR loss (Croce & Hein 2020).",
        {"steps": 50, "restarts": 1, "targets": 9}, auto_pgd_targeted("Linf"),
        lambda attack: attack.targets * attack.restarts * 2 * (attack.steps + 1) + 1, classes=4,
        by_standing=True),
    LibraryAttack("apgdt_l2", "APGDT", "l2-gradient", "l2",
        "Auto-PGD on the targeted DLR loss in l2 (Croce & Hein 2020).",
        {"steps": 50, "restarts": 1, "targets": 9}, auto_pgd_targeted("L2"),
        lambda attack: attack.targets * attack.restarts * 2 * (attack.steps + 1) + 1, classes=4,
        by_standing=True),
    LibraryAttack("fab_linf", "FAB", "linf-gradient", "linf",
        "Fast adaptive boundary (Croce & Hein 2020b).",
        {"steps": 100}, fast_boundary("Linf"), lambda attack: 12 * attack.steps,
        classes=2, minimum_norm=True, draws=False),
    LibraryAttack("fab_l2", "FAB", "l2-gradient", "l2",
        "Fast adaptive boundary in l2 (Croce & Hein 2020b).",
        {"steps": 100}, fast_boundary("L2"), lambda attack: 12 * attack.steps,
        classes=2, minimum_norm=True, draws=False),
    LibraryAttack("fab_l1", "FAB", "l1-gradient", "l1",
        "Fast adaptive boundary in l1 (Croce & Hein 2020b).",
        {"steps": 100}, fast_boundary("L1"), lambda attack: 12 * attack.steps,
        classes=2, minimum_norm=True, draws=False, run=without_filter),
)  # fmt: skip

QUERIES = (
    LibraryAttack("square", "Square", "score-based", "linf",
        "Square (Andriushchenko et al. 2020): random squares, no gradient.",
        {"queries": 5000}, squares("Linf"), lambda attack: attack.queries, by_standing=True),
    LibraryAttack("square_l2", "Square", "score-based", "l2",
        "Square in l2 (Andriushchenko et al. 2020).",
        {"queries": 5000}, squares("L2"), lambda attack: attack.queries, by_standing=True),
    LibraryAttack("spsa", "SPSA", "score-based", "linf",
        "Gradients estimated from `samples` pairs of forward passes (Uesato et al. 2018).",
        {"steps": 20, "step_size": None, "samples": 64, "at_once": 8},
        lambda attack, call: {
            "eps": attack.eps, "delta": 0.01, "lr": stepped(attack, call)["alpha"],
            "nb_iter": attack.steps, "nb_sample": attack.samples,
            "max_batch_size": attack.at_once},
        lambda attack: 2 * attack.steps * attack.samples),
)  # fmt: skip

MINIMUM_NORM = (
    LibraryAttack("cw", "CW", "l2-gradient", "l2",
        "Carlini & Wagner 2017 with one constant, not a search; pixels at 0 or 1 cannot move.",
        {"steps": 100, "step_size": 0.05, "constant": 1.0},
        lambda attack, call: {
            "c": attack.constant, "kappa": 0, "steps": attack.steps, "lr": attack.step_size},
        lambda attack: 2 * attack.steps, minimum_norm=True, positive=True,
        apart=False, draws=False),
    LibraryAttack("eaden", "EADEN", "l1-gradient", "l1",
        "Elastic net, the best by l2 + shrink * l1 (Chen et al. 2018).",
        {"steps": 100, "searches": 5, "step_size": 0.01, "shrink": 0.001}, elastic_net,
        lambda attack: 3 * attack.searches * attack.steps, minimum_norm=True, positive=True,
        draws=False),
    LibraryAttack("eadl1", "EADL1", "l1-gradient", "l1",
        "Elastic net, the best by l1 (Chen et al. 2018).",
        {"steps": 100, "searches": 5, "step_size": 0.01, "shrink": 0.001}, elastic_net,
        lambda attack: 3 * attack.searches * attack.steps, minimum_norm=True, positive=True,
        draws=False),
)  # fmt: skip

for row in (*AUTO, *QUERIES, *MINIMUM_NORM):
    offer(row, __name__)
