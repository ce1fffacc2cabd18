"""Training that starts from another trained defense: `meta_adv[start=pgd_at]`.

Whoever trains (`benchmark.artifacts.models`) makes or reads the model of `start` first, `fit_from`
copies its weights, and what both trained on and took adds up. A defense only says where it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from baselines.build import build_defense
from baselines.networks.weights import fit_weights
from benchmark.adaptation.step_sizes import parted
from benchmark.core.errors import UsageError
from benchmark.core.types import Defense, Trained

Fit = Callable[[nn.Module], Trained]
"""Trains the network it is given, in place."""


def starts(defense: Defense) -> dict[str, Defense]:
    """The defenses training goes through before `defense`, by name in tables, the nearest first.

    Raises:
        UsageError: a name nobody knows, or training that starts from itself.
    """
    found: dict[str, Defense] = {}
    while defense.start:
        text = defense.start
        name, defense = build_defense(text)
        if name in found:
            around = " -> ".join([*found, name])
            raise UsageError(f"start={text}: training would start from itself ({around})")
        found[name] = defense
    return found


def start_of(defense: Defense) -> tuple[str, Defense] | None:
    """The defense it starts from and its name; None if it starts from initial weights."""
    return next(iter(starts(defense).items()), None)


def families(defense: Defense, strengths: Mapping[str, Any]) -> frozenset[str] | None:
    """Families training will use from initial weights on; None when unknown."""
    known: frozenset[str] = frozenset()
    for one in (defense, *starts(defense).values()):
        of_this = one.families(strengths)
        if of_this is None:
            return None
        known |= of_this
    return known


def attack_names(defense: Defense, strengths: Mapping[str, Any]) -> frozenset[str] | None:
    """Names of the attacks training uses from initial weights on; None when unknown.

    They are known where the attacks that a defense names are of all the families that it declares.
    """
    known: frozenset[str] = frozenset()
    for one in (defense, *starts(defense).values()):
        of_this, used = one.families(strengths), one.training_attacks(strengths) or ()
        if of_this is None or of_this != {attack.family for attack in used}:
            return None
        known |= {attack.name for attack in used}
    return known


def fit_from(start: Trained | None, network: nn.Module, fit: Fit) -> Trained:
    """`fit` the network, from the weights and buffers of `start` if there is one.

    Step sizes it learned stay behind: they are no use to other weights.

    Raises:
        UsageError: the weights of `start` do not fit the network.
    """
    if start is None:
        return fit(network)
    fit_weights(network, parted(start.model.state_dict()).others)
    return fit(network).after(start)
