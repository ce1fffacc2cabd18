"""What attackers have besides the model they attack: training images, and models of their own."""

from __future__ import annotations

import torch
from torch import nn

from baselines.build import build_defense
from benchmark.artifacts.models import trained_model, training_hash
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.schema import short_hash
from benchmark.core.types import Attack, AttackerKnowledge, Defense, Surrogate
from benchmark.data.splits import Dataset
from benchmark.results.records import Cell

APART = 10_000
"""Added to the training seed of a surrogate: nobody hands the attacker the very model."""
SMALL = "small_cnn"
OTHERS = {SMALL: "medium_cnn"}
"""The other architecture than a network's; SMALL where nothing is said."""
PASSES, FEWEST, MOST = 400_000, 4, 40
"""Passes that a surrogate trains for, there and back; epochs at least, and at most."""


class Attacker:
    """Trains surrogates, or reads those that were trained before."""

    def __init__(
        self, cell: Cell, data: Dataset, settings: RunSettings, listener: ProgressListener,
        kept: dict[Surrogate, nn.Module],
    ) -> None:  # fmt: skip
        """`cell`: of the model that is attacked; surrogates have its network, data and seed.

        `kept`: those that are in memory, shared by all who attack models of that network and seed.
        """
        self.cell, self.data, self.settings, self.listener = cell, data, settings, listener
        self.kept = kept

    def lacks(self, attack: Attack) -> str | None:
        """Why an attack that learns from training images cannot run; None if it can."""
        if not attack.needs_knowledge:
            return None
        known = torch.isin(self.data.test.ids, self.data.train.ids).any()
        if len(self.data.train) and not known:
            return None
        return "the attacker has no training images apart from those that are scored"

    def informed(self, attack: Attack) -> Attack:
        """The attack, knowing what it asks for; what it needs is trained.

        Raises:
            Exception: whatever the training of a surrogate raised.
        """
        if not attack.needs_knowledge:
            return attack
        images = self.data.train.first(attack.own_images).batch().to(self.settings.device)
        models = tuple(map(self._model, attack.surrogates))
        return attack.knowing(AttackerKnowledge(images, models))

    def depends_on(self, attack: Attack) -> str:
        """Changes with whatever its knowledge depends on; empty where it needs none."""
        if not attack.needs_knowledge:
            return ""
        surrogates = [
            training_hash(*self._trained(one), self.data, self.settings)
            for one in attack.surrogates
        ]
        return short_hash(attack.own_images, *surrogates)

    def _model(self, wanted: Surrogate) -> nn.Module:
        if wanted not in self.kept:
            cell, defense = self._trained(wanted)
            made = trained_model(cell, defense, self.data, self.settings, self.listener)
            self.kept[wanted] = made.network
        return self.kept[wanted]

    def _trained(self, surrogate: Surrogate) -> tuple[Cell, Defense]:
        """A cell that stands for a surrogate, and its defense."""
        epochs = min(MOST, max(FEWEST, PASSES // (2 * len(self.data.train))))
        name, defense = build_defense(f"standard[epochs={epochs}]")
        own = self.cell.network
        network = OTHERS.get(own, SMALL) if surrogate.other else own
        about = {"defense": name, "network": network, "seed": self.cell.seed + APART}
        return self.cell.model_copy(update=about), defense
