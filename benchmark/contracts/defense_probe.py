"""A defense under observation: made cheap, trained on a few images, its model at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from attacks.build import Strengths, strengths_of
from baselines.networks.zoo import build_network, default_network
from baselines.training.warm_start import fit_from, start_of
from benchmark.core.errors import UsageError
from benchmark.core.seeding import global_hash, global_state, stream
from benchmark.core.specs import options_of
from benchmark.core.types import Batch, Defense, Trained
from benchmark.data import load
from benchmark.data.catalog import DATASETS
from benchmark.data.splits import draw_support
from benchmark.evaluation.probe import probe
from benchmark.evaluation.verdicts import frozen
from benchmark.identity.fingerprint import options_of_instance

CUTS = {"epochs": 1, "warmup_epochs": 1, "iterations": 1, "tasks": 1, "attack_steps": 2}
"""The most of each option that the contract pays for."""
PER_CLASS = 12


@dataclass(frozen=True)
class DefenseUnderTest:
    """A defense made cheap; `given` are the options the user wrote, as text."""

    defense: Defense
    dataset: str
    given: Mapping[str, str]
    shares: list[float] = field(default_factory=list)
    """What `fit` reported as progress, in its first run."""

    @cached_property
    def options(self) -> dict[str, Any]:
        """Its options, noted before it trains."""
        return options_of_instance(self.defense)

    @property
    def strengths(self) -> Strengths:
        """Of the data set."""
        return strengths_of(self.dataset)

    @cached_property
    def _first(self) -> tuple[nn.Module, Trained, bool]:
        """The network handed over, what `fit` made of it, and whether it left no other trace."""
        network = network_for(self.dataset)
        assert self.options is not None  # noted first
        with global_state(stream("contract", "global", 0)):
            before = global_hash()
            trained = self._train(network, self.shares)
            return network, trained, before == global_hash()

    @property
    def trained(self) -> Trained:
        """What `fit` gave."""
        return self._first[1]

    @property
    def tidy(self) -> bool:
        """Whether global random state was as before when `fit` had ended."""
        return self._first[2]

    @property
    def brought(self) -> bool:
        """Whether the model is the user's own instead of the network handed over."""
        return self.trained.model is not self._first[0]

    def fit(self, turn: int) -> Trained:
        """Train again from the same stream, with other global generators."""
        with global_state(stream("contract", "global", turn)):
            return self._train(network_for(self.dataset), [])

    def _train(self, network: nn.Module, shares: list[float]) -> Trained:
        split = load.load(self.dataset, None, False, 0).train
        classes = DATASETS[self.dataset].classes
        few = draw_support(split, PER_CLASS, classes, stream("contract", "train"))
        rng, found = stream("contract", "fit"), start_of(self.defense)
        start = found and DefenseUnderTest(cheaper(found[1], {}), self.dataset, {}).fit(0)

        def fit(network: nn.Module) -> Trained:
            return self.defense.fit(network, few, self.strengths, shares.append, rng)

        return fit_from(start, network, fit)

    @cached_property
    def model(self) -> nn.Module:
        """As the benchmark evaluates it: a copy in eval mode, without gradients of parameters."""
        return frozen(self.trained.model)

    @cached_property
    def batch(self) -> Batch:
        """Test images of the data set; for a given model, random ones of a shape it takes."""
        if not self.brought:
            return load.load(self.dataset, None, False, 0).test.first(20).batch()
        model, problems = self.model, []
        for shape in dict.fromkeys(facts.shape for facts in DATASETS.values()):
            images = torch.rand(8, *shape, generator=stream("contract", *shape))
            try:
                logits = model(images)
            except Exception as error:
                problems.append(f"{shape}: {str(error).splitlines()[0][:80]}")
                continue
            return Batch(images, logits.detach().reshape(8, -1).argmax(dim=1))
        raise UsageError(
            f"expected a model of images in [0, 1], it took none ({'; '.join(problems)})"
        )

    @torch.no_grad()
    def logits(self) -> Tensor:
        """Of the batch."""
        logits: Tensor = self.model(self.batch.images)
        return logits

    @cached_property
    def flags(self) -> list[str]:
        """What makes its robust accuracy doubtful."""
        return [*map(str, probe(self.model, self.batch, self.logits().shape[1]).flags)]


def cheaper(defense: Defense, given: Mapping[str, str]) -> Defense:
    """The defense with the options in CUTS cut down, except those `given`."""
    cut: dict[str, Any] = {
        key: min(most, getattr(defense, key))
        for key, most in CUTS.items()
        if key in options_of(type(defense)) and key not in given
    }
    return replace(defense, **cut)  # type: ignore[type-var]


def network_for(dataset: str) -> nn.Module:
    """A fresh network of a data set, always with the same weights."""
    facts, rng = DATASETS[dataset], stream("contract", "network")
    return build_network(default_network(dataset, facts.shape), facts.shape, facts.classes, rng)
