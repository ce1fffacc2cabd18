"""AutoAttack (Croce & Hein 2020) by its authors' code, which is on PyPI as `pyautoattack`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, count_classes
from benchmark.core.seeding import draw_seed
from benchmark.core.types import Family

INSTALLED = find_spec("pyautoattack") is not None
TARGETS = 9
"""The published number of target classes of APGD-T and FAB-T."""


@contextmanager
def checks_contained() -> Iterator[None]:
    """Undo what the library's checks leave behind.

    `check_dynamic` counts calls in a module global that is never reset, so that after one dynamic
    defense every later model looks dynamic, and it removes the trace function of a debugger or of
    coverage. Its warnings are text about the first batch; the benchmark has its own checks.
    """
    counts: dict[str, int] = import_module("pyautoattack.checks").funcs
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    disabled, logger.disabled = logger.disabled, True
    counts.update(dict.fromkeys(counts, 0))
    try:
        yield
    finally:
        counts.update(dict.fromkeys(counts, 0))
        sys.settrace(trace)
        logger.disabled = disabled


@dataclass(frozen=True)
class AutoAttack(ThirdParty):
    """APGD-CE, APGD-T, FAB-T and Square in turn on the images that still stand (`standard`)."""

    modules: ClassVar[tuple[str, ...]] = ("pyautoattack",)
    origin: ClassVar[str] = f"pyautoattack {version('pyautoattack')}" if INSTALLED else ""
    only_by_name: ClassVar[str] = "the authors' code, a reference for aa_linf and aa_l2"
    norms: ClassVar[dict[str, str]] = {"linf": "Linf", "l2": "L2"}
    eps: float
    iterations: int = 100
    """Of APGD and FAB, each target class; 100 is published, anything less is not AutoAttack."""
    queries: int = 5000
    """Of Square; 5,000 is published, anything less is not AutoAttack."""
    batch_size: int = 500

    @property
    def passes(self) -> int:
        """Of an image that stands to the end: an iteration of FAB costs 3 passes, of APGD 2."""
        return self.iterations * (2 + 2 * TARGETS + 3 * TARGETS) + self.queries

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """The targeted DLR loss looks at the fourth largest logit; the library would crash."""
        return None if classes > 3 else f"needs more than 3 classes, the data set has {classes}"

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Images it cannot break come back as they were."""
        with checks_contained():
            library = self._library(model, images, draw_seed(rng))
            perturbed, _ = library.run_standard_evaluation(
                images, labels, batch_size=self.batch_size
            )
        result: Tensor = perturbed
        return result

    def _library(self, model: nn.Module, images: Tensor, seed: int) -> Any:
        """A fresh object of the library, with no more target classes than there are wrong ones."""
        library = import_module("pyautoattack").AutoAttack(
            model, norm=self.norms[self.norm], eps=self.eps, seed=seed, version="standard",
            device=images.device,
        )  # fmt: skip
        for part in (library.apgd, library.apgd_targeted, library.fab):
            part.n_iter = self.iterations
        targets = min(TARGETS, count_classes(model, images) - 1)
        library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
        library.square.n_queries = self.queries
        return library


@dataclass(frozen=True)
class AutoAttackLinf(AutoAttack):
    """AutoAttack in linf, as published: 100 iterations, 9 targets, 5,000 queries."""

    name: ClassVar[str] = "autoattack"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@dataclass(frozen=True)
class AutoAttackL2(AutoAttack):
    """AutoAttack in l2, as published: 100 iterations, 9 targets, 5,000 queries."""

    name: ClassVar[str] = "autoattack_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


for attack in (AutoAttackLinf, AutoAttackL2):
    if INSTALLED:
        ATTACKS.register(attack)
    else:
        ATTACKS.refuse(attack.name, "pip install pyautoattack")
