"""What a group of cells is evaluated with: values that nothing changes while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from benchmark.artifacts.attacker import Attacker
from benchmark.artifacts.examples import AdversarialExamples, AttackRequest, ExampleStore
from benchmark.artifacts.models import Model
from benchmark.artifacts.settings import RunSettings
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Infer, InferAlone
from benchmark.core.types import Attack, Batch, Defense, Split
from benchmark.data.splits import Dataset, support_and_query
from benchmark.evaluation.precision import in_precision
from benchmark.evaluation.verdicts import Meter
from benchmark.results.records import Cell


@dataclass(frozen=True)
class Inputs:
    """A trained model, the data it is scored on, and the attacks."""

    settings: RunSettings
    attacks: Mapping[str, Attack]
    """Scored or shown, by name."""
    defense: Defense
    data: Dataset
    """As the split that is scored has it."""
    trained: Model
    examples: ExampleStore
    attacker: Attacker
    """What attacks know beside the model."""
    rehearsed: tuple[Attack, ...] = ()
    """Those that the defense trains on, for `amplify`; none where nobody knows."""
    infer: Infer | None = None
    """What `amplify` finds out about the attacker with."""
    infer_alone: InferAlone | None = None
    """The same without originals."""
    _queries: dict[int | None, Batch] = field(default_factory=dict)

    def query(self, limit: int | None) -> Batch:
        """The scored images: the first `limit` of the test split, in published order."""
        if limit not in self._queries:
            scored = self.data.test.first(limit)
            self._queries[limit] = scored.batch().to(self.settings.device)
        return self._queries[limit]

    def support(self, cell: Cell, episode: int, stage: int = 0) -> Split:
        """What is shown in an episode, before any attack; disjoint from the query."""
        shots, limit = cell.budget.shots, cell.limit
        return support_and_query(self.data, shots, cell.seed, episode, limit, stage).support

    def static(self, cell: Cell, meter: Meter) -> AdversarialExamples:
        """The query under attack, crafted against the trained model at full strength."""
        return self.examples.craft(self.static_request(cell), meter)

    def static_request(self, cell: Cell) -> AttackRequest:
        """What `static` asks for."""
        query = self.query(cell.limit)
        rng = Streams.named(len(query.labels), "attack", "static", cell.attack, cell.seed)
        return self.request(cell, "query", query, rng)

    def request(self, cell: Cell, what: str, batch: Batch, rng: Streams) -> AttackRequest:
        """Images under the attack of a cell, against the trained model."""
        trained = f"{cell.dataset}/{cell.network}/{cell.defense}/s{cell.seed}"
        about = {"what": what, "trained": trained, "attack": cell.attack}
        return AttackRequest(self.attack(cell.attack), self.trained, batch, rng, about)

    def attack(self, name: str) -> Attack:
        """An attack that is about to run: it knows what it needs to."""
        return self.attacker.informed(self.attacks[name])

    def searched(self, model: nn.Module) -> nn.Module:
        """A model as attacks ask it, in the precision of this run."""
        return in_precision(model, self.settings.precision)
