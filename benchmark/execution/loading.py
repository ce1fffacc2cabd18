"""Opens what groups are evaluated with, and says which cells are a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import nn

from attacks.build import strengths_of
from attacks.threats.infer import infer
from attacks.threats.pose import infer_poses
from baselines.training.warm_start import starts
from benchmark.artifacts.attacker import SMALL, Attacker
from benchmark.artifacts.example_cache import Cache
from benchmark.artifacts.examples import ExampleStore
from benchmark.artifacts.models import Model, is_spoiled, trained_model
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.errors import contained
from benchmark.core.types import Attack, Defense, Surrogate
from benchmark.data.load import load
from benchmark.data.splits import Dataset, for_choosing
from benchmark.protocol.inputs import Inputs
from benchmark.results.records import Cell


def trained_name(cell: Cell) -> tuple[str, str, str, int]:
    """Equal for the cells of one trained model."""
    return cell.dataset, cell.network, cell.defense, cell.seed


def group_name(cell: Cell) -> str:
    """Equal for the cells of one group: of one trained model that is first shown the same attack.

    Where an attack is both shown and scored they share static examples; else the adapted models.
    """
    dataset, network, defense, seed = trained_name(cell)
    name = f"{dataset}-{network}-{defense}-s{seed}-{cell.arrivals[0]}"
    return name if cell.split == "test" else f"{name}-{cell.split}"


def by_group(cells: Iterable[Cell]) -> list[tuple[Cell, ...]]:
    """The cells of each group, in the order in which groups begin."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(group_name(cell), []).append(cell)
    return [tuple(group) for group in found.values()]


def by_family(cells: Iterable[Cell], attacks: Mapping[str, Attack]) -> list[tuple[Cell, ...]]:
    """For `--verdicts union`: a group for each trained model and family, the cheapest first."""
    found: dict[object, list[Cell]] = {}
    for cell in cells:
        key = trained_name(cell), cell.split, attacks[cell.attack].family
        found.setdefault(key, []).append(cell)
    return [
        tuple(sorted(group, key=lambda cell: attacks[cell.attack].passes))
        for group in found.values()
    ]


class InputLoader:
    """Reads data sets, and reads or trains models; keeps the last of each.

    Whoever asks goes through the groups of one trained model after the other.
    """

    def __init__(
        self, attacks: Mapping[str, Attack], defenses: Mapping[str, Defense],
        settings: RunSettings, listener: ProgressListener,
    ) -> None:  # fmt: skip
        self.attacks, self.defenses = attacks, defenses
        self.settings, self.listener = settings, listener
        folder, limit = settings.cache_folder, settings.cache_limit
        self.examples = ExampleStore(Cache(folder, limit, self._note) if folder else None)
        self._data: tuple[object, Dataset, Dataset] | None = None
        self._trained: tuple[object, Model | Exception] | None = None
        self._surrogates: tuple[object, dict[Surrogate, nn.Module]] | None = None

    def _note(self, line: str) -> None:
        """To whoever listens now: a worker changes that from task to task."""
        self.listener.note(line)

    def data(self, cell: Cell) -> tuple[Dataset, Dataset]:
        """The data set of a cell: what trains, and what the split that is scored leaves of it."""
        key = cell.dataset, cell.seed, cell.split
        if self._data is None or self._data[0] != key:
            whole = self._read(cell)
            self._data = key, whole, whole if cell.split == "test" else for_choosing(whole)
        return self._data[1:]

    def _read(self, cell: Cell) -> Dataset:
        settings = self.settings
        return load(settings.own.dataset(cell), settings.data_dir, settings.download, cell.seed)

    def inputs(self, cell: Cell) -> Inputs:
        """Those of the group of a cell.

        Raises:
            Exception: whatever the training of its model raised, the first time and every time.
        """
        _, data = self.data(cell)
        model, defense = self.model(cell), self.defenses[cell.defense]
        attacker = self._attacker(cell)
        return Inputs(
            self.settings, self.attacks, defense, data, model, self.examples, attacker,
            self._training_attacks(defense, data), infer, infer_poses,
        )  # fmt: skip

    def _training_attacks(self, defense: Defense, data: Dataset) -> tuple[Attack, ...]:
        """Those of a defense and of what it starts from."""
        strengths = strengths_of(data.name, data.shape, self.settings.strengths)
        several = (defense, *starts(defense).values())
        return tuple(
            {attack: None for one in several for attack in one.training_attacks(strengths) or ()}
        )

    def _attacker(self, cell: Cell) -> Attacker:
        """Whoever attacks the model of a cell; models it trained serve the next cell too."""
        whole, _ = self.data(cell)
        brought = self.defenses[cell.defense].brings_network
        network = SMALL if brought else cell.network  # nobody can train what is only given
        key = cell.dataset, network, cell.seed
        if self._surrogates is None or self._surrogates[0] != key:
            self._surrogates = key, {}
        own = cell.model_copy(update={"network": network})
        return Attacker(own, whole, self.settings, self.listener, self._surrogates[1])

    def model(self, cell: Cell) -> Model:
        """The trained model: read from the results folder, or trained and kept there."""
        key = trained_name(cell)
        if self._trained is None or self._trained[0] != key:
            self._trained = None  # two would be in memory at a time
            self._trained = key, self._open(cell)
        found = self._trained[1]
        if isinstance(found, Exception):
            raise found.with_traceback(found.__traceback__)
        return found

    def _open(self, cell: Cell) -> Model | Exception:
        whole, _ = self.data(cell)
        defense = self.defenses[cell.defense]
        try:
            with contained():
                return trained_model(cell, defense, whole, self.settings, self.listener)
        except Exception as error:
            return error

    def drop_spoiled(self) -> None:
        """Forget a trained model that a failed cell wrote to: who asks next gets it as it was."""
        found = self._trained and self._trained[1]
        try:
            with contained():
                spoiled = isinstance(found, Model) and is_spoiled(found)
        except Exception:  # it cannot even be looked at
            spoiled = True
        if spoiled:
            self._trained = None
