"""What a cell of the matrix is, what the defender gets in it, and how that was chosen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field

from benchmark.core.errors import unknown
from benchmark.core.schema import Amount, Count, Frozen, Seed
from benchmark.core.specs import Spec
from benchmark.core.threats.options import Amplify

METHODS = "none", "finetune", "trust", "head", "norm", "learned", Amplify.name
"""How a model may adapt; `amplify` alone has options."""


def _method(text: str) -> str:
    """A method as written, options sorted; UsageError for one that is none."""
    if text in METHODS:
        return text
    spec = Spec.parse(text)
    if spec.name not in METHODS:
        raise unknown("adaptation method", spec.name, METHODS)
    if spec.options and Amplify.of(text) is None:
        raise unknown(f"option of {spec.name}", spec.options[0][0], [])
    return str(spec)


Method = Annotated[str, AfterValidator(_method)]
"""The name of one, with options in brackets."""
Knowledge = Literal["captured", "pairs", "simulated", "clean"]
"""The K attacked images per class; with their originals; the attack itself; the originals alone."""
Scored = Literal["test", "validation"]


class Budget(Frozen):
    """What the defender gets: examples per class, and how it may adapt to them."""

    shots: Count
    method: Method = "finetune"
    knowledge: Knowledge = "captured"
    steps: Count = 0
    lr: Amount = 0.0

    @property
    def adapts(self) -> bool:
        """False for the rows in which the model stays as it was trained."""
        return self.shots > 0 and self.steps > 0 and self.method != "none"

    @property
    def amplify(self) -> Amplify | None:
        """The numbers of `amplify`; None of another method."""
        return Amplify.of(self.method)

    def __str__(self) -> str:
        if not self.adapts:
            return "k00"
        short = f"{self.lr:g}"
        lr = short if float(short) == self.lr else repr(self.lr)
        return f"k{self.shots:02d}-{self.method}-{self.knowledge}-t{self.steps}-lr{lr}"


class Cell(Frozen):
    """One entry of the matrix, fully described: everything that `run` needs to make it again."""

    dataset: str
    network: str
    defense: str
    seed: Seed
    attack: str
    budget: Budget
    episodes: int = Field(default=1, ge=1, le=2**53)
    limit: int | None = Field(default=None, ge=1, le=2**53)
    """Score the first so many images; None means all of them."""
    shown: tuple[str, ...] = ()
    """The attacks the defender was shown, one after another; empty: the scored one alone."""
    split: Scored = "test"
    """Which images are scored. On `validation` ones settings are chosen: reports leave them out."""

    @property
    def arrivals(self) -> tuple[str, ...]:
        """The attacks whose examples the model adapts to, first to last."""
        return self.shown or (self.attack,)

    def showing(self, attack: str) -> Self:
        """The plain cell of another attack: shown to the same model within the same budget."""
        return self.model_copy(update={"attack": attack, "shown": ()})

    def seeded(self, seed: int) -> Self:
        """The same cell of another training seed.

        Plans hold very many: the set of names that pydantic keeps with each is shared here, where
        `model_copy` would give every cell its own, two thirds of what a cell takes.
        """
        return self.model_construct(self.model_fields_set, **{**vars(self), "seed": seed})

    def __str__(self) -> str:
        trained = f"{self.dataset}/{self.network}/{self.defense}/s{self.seed}"
        after = f" after {', '.join(self.shown)}" if self.shown else ""
        where = "" if self.split == "test" else f" on {self.split} images"
        return f"{trained}/{self.attack}/{self.budget}{after}{where}"


ADAPTIVE = "adaptive:"
"""What the names of attacks begin with that a defense brings, against itself alone."""
Names = tuple[tuple[str, str], ...]


class Own(Frozen):
    """What the user brought, each by its name in cells: how it was given."""

    datasets: Names = ()
    networks: Names = ()
    attacks: Names = ()

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """All of it, each once."""
        found = list(parts)
        return cls(**{
            kind: tuple({pair: None for part in found for pair in getattr(part, kind)})
            for kind in cls.model_fields
        })  # fmt: skip

    def dataset(self, cell: Cell) -> str:
        """What `benchmark.data.load` takes for the data set of a cell."""
        return dict(self.datasets).get(cell.dataset, cell.dataset)

    def network(self, cell: Cell) -> str:
        """What `build_network` takes for the network of a cell."""
        return dict(self.networks).get(cell.network, cell.network)


class Choice(Frozen):
    """How a defense is to adapt, chosen by `tune` on validation images alone."""

    dataset: str
    network: str
    defense: str
    knowledge: Knowledge
    method: Method
    steps: int = Field(ge=1)
    lr: float = Field(gt=0)
    attacks: tuple[str, ...]
    """The validation attacks; `families` are theirs."""
    families: tuple[str, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    episodes: int
    n: int
    """Validation images scored."""
    candidates: int
    """Settings tried; those that could not run are not counted."""
    max_clean_drop: float
    robust: float
    """robust@K: mean over families of the worst attack in each, then over K; `before`: robust@0."""
    interval: tuple[float, float]
    before: float
    clean_drop: float
    """clean@0 - clean@K, the largest over K."""
    created: str
    commit: str | None

    def is_of(self, cell: Cell) -> bool:
        """Whether a cell adapts as was chosen for it, and is not one it was chosen on."""
        budget, trained = cell.budget, (cell.dataset, cell.network, cell.defense)
        chosen = (self.method, self.steps, self.lr)
        return (
            cell.split == "test" and budget.adapts
            and trained == (self.dataset, self.network, self.defense)
            and (budget.method, budget.steps, budget.lr) == chosen
        )  # fmt: skip
