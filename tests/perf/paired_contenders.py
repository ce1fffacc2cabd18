"""Our attacks beside independent code: which of the same images stand, and in what time.

Both sides are asked for verdicts, judged and audited by the benchmark. An adapter of a library
that takes each image by itself leaves out what is broken, which its users would wait for.
"""

from __future__ import annotations

import time
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from pgd_contenders import task

from attacks.build import build_attack
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, frozen, survives
from reports.statistics.paired import Change, change

STRENGTHS: dict[str, dict[str, Any]] = {
    "lenet5": {
        "linf": {"eps": 0.3}, "l2": {"eps": 2.0}, "l1": {"eps": 10.0}, "l0": {"eps": 5},
        "patch": {"side": 8, "stride": 4, "places": 6},
        "spatial": {"degrees": 15.0, "shift": 1},
    },
    "resnet2b": {
        "linf": {"eps": 2 / 255}, "l2": {"eps": 0.25}, "l1": {"eps": 3.0}, "l0": {"eps": 2},
        "patch": {"side": 3, "stride": 3, "places": 11},
        "spatial": {"degrees": 5.0, "shift": 1},
    },
}  # fmt: skip
"""Such that some images are left and some are not."""


class Pair(NamedTuple):
    """Two attacks, as specs, on a network and the first test images."""

    ours: str
    theirs: str
    case: str = "resnet2b"
    images: int = 500


BOTH = (
    ("fgsm", "fb_fgsm"),
    ("fgsm", "ta_fgsm"),
    ("fgsm", "ch_fgm"),
    ("fgm_l2", "fb_fgm_l2"),
    ("fgm_l1", "fb_fgm_l1"),
    ("pgd_linf", "ta_pgd_linf[steps=40]"),
    ("pgd_linf", "fb_pgd"),
    ("pgd_linf", "art_pgd"),
    ("pgd_linf", "ch_pgd"),
    ("pgd_linf_dlr", "al_pgd_dlr"),
    ("pgd_l2", "ta_pgd_l2[steps=40]"),
    ("pgd_l2", "fb_pgd_l2"),
    ("pgd_l2", "ch_pgd_l2"),
    ("pgd_l1", "fb_pgd_l1"),
    ("pgd_l1", "fb_sparse_l1"),
    ("aa_apgd_ce", "pa_apgd_ce"),
    ("apgd_dlr_linf[steps=100]", "pa_apgd_dlr"),
    ("apgd_pm_linf[steps=100]", "pa_apgd_dlr"),
    ("aa_apgd_ce_l2", "pa_apgd_ce_l2"),
    ("apgd_dlr_l2[steps=100]", "pa_apgd_dlr_l2"),
    ("apgd_pm_l2[steps=100]", "pa_apgd_dlr_l2"),
    ("apgd_l1[steps=100]", "pa_apgd_ce_l1"),
    ("apgd_dlr_l1[steps=100]", "pa_apgd_dlr_l1"),
    ("apgd_pm_l1[steps=100]", "pa_apgd_dlr_l1"),
    ("pgd_l0", "spgd[steps=150]"),
    ("pgd_l0", "al_sigma_zero[steps=300]"),
    ("pgd_l0", "al_fmn_l0[steps=300]"),
    ("sparse_rs[queries=2000]", "rs_l0[queries=2000]"),
    ("rotation_translation[shifts=3]", "fb_spatial[shifts=3]"),
    ("gaussian_noise[draws=100]", "fb_gaussian[draws=100]"),
    ("uniform_noise[draws=100]", "fb_uniform[draws=100]"),
    ("salt_pepper_noise[draws=100]", "fb_salt_pepper[draws=100]"),
)
"""On both networks, 500 images."""
COSTLY = (
    ("aa_apgd_t", "pa_apgd_t"),
    ("aa_fab_t", "pa_fab_t"),
    ("aa_square", "pa_square"),
    ("aa_square[queries=2500]", "art_square[queries=1250]"),
    ("aa_apgd_t_l2", "pa_apgd_t_l2"),
    ("aa_fab_t_l2", "pa_fab_t_l2"),
    ("aa_square_l2", "pa_square_l2"),
    ("apgdt_l1[steps=100]", "pa_apgd_t_l1"),
)
"""On the smaller network."""
SLOW = (
    ("hop_skip_jump[queries=2000]", "fb_hop_skip_jump[steps=8]"),
    ("hop_skip_jump[queries=2000]", "ch_hop_skip_jump[steps=8]"),
    ("hop_skip_jump[queries=5000]", "fb_hop_skip_jump[steps=15]"),
    ("boundary[queries=2500]", "fb_boundary[steps=2136]"),
)
"""On the smaller network, 200 images."""
PAIRS = (
    *(Pair(*names, case) for names in BOTH for case in ("lenet5", "resnet2b")),
    *(Pair(*names) for names in COSTLY),
    Pair("aa_square", "pa_square", "lenet5", 200),
    *(Pair(*names, images=200) for names in SLOW),
)


class Side(NamedTuple):
    """What an attack left."""

    stands: np.ndarray[Any, Any]
    """bool (1, images)."""
    seconds: float
    """Of the processor: other work blurs them less."""
    passes: int
    """At most, of an image."""


class Outcome(NamedTuple):
    """Both sides of a pair."""

    pair: Pair
    ours: Side
    theirs: Side

    @property
    def change(self) -> Change:
        """`lost`: images that ours alone breaks; `won`: those that theirs alone does."""
        return change(self.theirs.stands, self.ours.stands)

    @property
    def ratio(self) -> float:
        """How many times longer theirs takes."""
        return self.theirs.seconds / self.ours.seconds

    def row(self) -> str:
        """A line of the table."""
        n, found = self.pair.images, self.change
        left = f"{int(self.ours.stands.sum())} / {int(self.theirs.stands.sum())} of {n}"
        only = f"{found.lost} / {found.won}"
        cells = (
            f"`{self.pair.ours}`", f"`{self.pair.theirs}`", self.pair.case, left, only,
            f"{found.points:+.1f}", f"{found.p:.2g}", f"{self.ours.passes} / {self.theirs.passes}",
            f"{self.ratio:.2g}",
        )  # fmt: skip
        return "| " + " | ".join(cells) + " |"


HEADER = """
| ours | independent | network | left: ours / theirs | broken by ours / theirs alone | points | p \
| passes | time |
|---|---|---|--:|--:|--:|--:|--:|--:|"""


@cache
def setting(case: str, n: int) -> tuple[torch.nn.Module, Batch]:
    """The network and the first n test images."""
    model, batch, _ = task(case, str(n))
    return frozen(model), batch


@cache
def side(spec: str, case: str, n: int) -> Side:
    """Run an attack, warmed up on eight images, by which imports are not timed."""
    model, batch = setting(case, n)
    import_module("paired_others")
    attack = build_attack(spec, STRENGTHS[case])
    rng = Streams.named(n, "race")
    few = slice(0, 8)
    survives(attack, model, Batch(batch.images[few], batch.labels[few]), Meter(), rng.take(few))
    begin = time.process_time()
    verdicts, _ = survives(attack, model, batch, Meter(), Streams.named(n, "race"))
    return Side(verdicts.numpy()[None], time.process_time() - begin, attack.passes)


def compared(pair: Pair) -> Outcome:
    """Both, one after the other."""
    ours, theirs = (side(spec, pair.case, pair.images) for spec in (pair.ours, pair.theirs))
    return Outcome(pair, ours, theirs)
