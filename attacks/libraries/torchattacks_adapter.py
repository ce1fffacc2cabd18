"""torchattacks 3.5.1 as attacks of ours: what a row is, and how it runs.

The rows are in torchattacks_gradient.py and torchattacks_other.py. The library is imported at the
first attack, not before: it is slow to import and brings old pins along. Each call builds a new
library object, because one that raised, or was made on another device, is not to be trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field, make_dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, count_classes
from benchmark.core.seeding import draw_seed
from benchmark.core.specs import options_of
from benchmark.core.types import Attack, Family

INSTALLED = find_spec("torchattacks") is not None

Arguments = dict[str, Any]


class Call(NamedTuple):
    """What a library attack is told about one call besides the options."""

    shape: tuple[int, ...]
    """(channels, height, width)."""
    classes: int
    """0 unless the row says how many it needs."""
    seed: int


def plainly(library: Any, images: Tensor, labels: Tensor) -> Tensor:
    """Run a library attack as its documentation says."""
    perturbed: Tensor = library(images, labels)
    return perturbed


def stepped(attack: Any, call: Call) -> Arguments:
    """Arguments of most iterative attacks; `step_size` None is 2.5 * eps / steps (Madry 2018)."""
    alpha = attack.step_size or 2.5 * attack.eps / max(attack.steps, 1)
    return {"eps": attack.eps, "alpha": alpha, "steps": attack.steps}


class LibraryAttack(NamedTuple):
    """One attack of the library, with every argument spelled out.

    Its defaults are not used: 10 steps and 8/255 wherever they apply, an SPSA that moves at most
    2.55/255, a Square with a schedule of its own, momentum attacks without momentum.
    """

    name: str
    library: str
    """Class in torchattacks."""
    family: Family
    norm: str
    about: str
    options: Mapping[str, Any]
    """Bracket options besides `eps`, and their defaults; a tuple lists choices, default first."""
    arguments: Callable[[Any, Call], Arguments]
    """All arguments of the library's class, from the attack with its options and the call."""
    passes: Callable[[Any], int]
    """Passes through the network one unbroken image of 10 classes costs, backward ones counted."""
    channels: int | None = None
    classes: int = 0
    """The fewest classes it works with; 0 if it does not count them."""
    minimum_norm: bool = False
    white_box: bool = False
    """See `Attack.white_box`."""
    positive: bool = False
    """Whether its loss is wrong for negative logits (torchattacks issue 184): shift them."""
    inexact: str = ""
    """See `Attack.inexact`."""
    apart: bool = True
    """See `ThirdParty.apart`, and the next."""
    stops: bool = False
    draws: bool = True
    """Whether it draws random numbers, which the library deals to the batch as it comes."""
    by_standing: bool = False
    """Whether it deals them to the images that still stand, not to the places of the batch."""
    run: Callable[[Any, Tensor, Tensor], Tensor] = plainly


class FromTorchattacks(ThirdParty):
    """An attack of torchattacks; subclasses are made from rows by `offer`.

    The worst query counts (see `attacks.libraries.model_proxy`), where the library may return a
    weaker one.
    """

    row: ClassVar[LibraryAttack]
    watched: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("torchattacks",)

    @property
    def passes(self) -> int:
        """See `Row.passes`."""
        return self.row.passes(self)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Too few classes, the wrong number of channels, or a budget below one pixel."""
        row = self.row
        if row.channels and shape[0] != row.channels:
            return f"needs {row.channels} channels, images have {shape[0]}"
        fewest = max(row.classes, 3 if getattr(self, "loss", "ce") == "dlr" else 0)
        if classes < fewest:
            return f"needs at least {fewest} classes, the data set has {classes}"
        if self.norm == "l0" and self.eps < 1:
            return f"needs eps of at least 1 pixel, got {self.eps:g}"
        return None

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Build the library's attack for this call and run it."""
        classes = count_classes(model, images) if self.row.classes else 0
        call = Call(tuple(images.shape[1:]), classes, draw_seed(rng))
        build = getattr(import_module("torchattacks"), self.row.library)
        library = build(model, **self.row.arguments(self, call))
        return self.row.run(library, images, labels)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: the classes are made at run time, no module holds them."""
        values = tuple(getattr(self, name) for name in options_of(type(self)))
        return remake, (self.name, values)


def remake(name: str, options: tuple[Any, ...]) -> Attack:
    """What a pickled attack becomes again."""
    return ATTACKS.get(name)(*options)


def _typed(name: str, default: Any) -> tuple[str, Any, Any]:
    """An option as a dataclass field, its type read off its default."""
    if isinstance(default, tuple):
        return name, Literal[default], field(default=default[0])
    kind = float | None if default is None else type(default)
    return name, kind, field(default=default)


def offer(row: LibraryAttack, module: str) -> None:
    """Register a row of `module` as a frozen dataclass whose fields are its options.

    The class says it is from `module`, so that records go stale when the rows there change.
    """
    if not INSTALLED:
        ATTACKS.refuse(row.name, "pip install torchattacks")
        return
    about = {
        "__doc__": f"{row.about} From torchattacks.",
        "__module__": module,
        "row": row,
        "name": row.name,
        "family": row.family,
        "norm": row.norm,
        "minimum_norm": row.minimum_norm,
        "white_box": row.white_box,
        "positive": row.positive,
        "inexact": row.inexact,
        "apart": row.apart,
        "stops": row.stops,
        "by_image": row.apart and not row.draws,
        "by_place": row.apart and row.draws and not row.by_standing,
        "origin": f"torchattacks {version('torchattacks')}",
    }
    options: list[tuple[str, Any] | tuple[str, Any, Any]] = [("eps", float)]
    options += [_typed(name, default) for name, default in row.options.items()]
    made = make_dataclass(
        row.library, options, bases=(FromTorchattacks,), frozen=True, namespace=about
    )
    ATTACKS.register(made)


for name, reason in {
    "vanila": "it returns the images unchanged",
    "gn": "Gaussian noise without a bound; use gaussian_noise",
    "pgdrs": "it attacks a randomised-smoothing classifier, not the network itself",
    "pgdrsl2": "it attacks a randomised-smoothing classifier, not the network itself",
    "lgv": "a transfer attack that trains surrogate networks on the training set",
    "multiattack": "a wrapper, not an attack; the union over attacks is in every report",
    "ta_autoattack": "not AutoAttack: 10 steps for 100; use autoattack, or its parts apgd_linf, "
    "apgdt_linf, fab_linf and square",
}.items():
    ATTACKS.refuse(name, reason)
