"""W3: verdicts of AutoAttack on published networks; ours, and the authors' code as they give it.

`python tests/perf/autoattack_contenders.py NAME CASE IMAGES [ITERATIONS QUERIES]` runs one lap;
iterations and queries as published unless given.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pgd_contenders import Work, survivors, task

from attacks.ensemble import AutoAttackLinf
from benchmark.core.streams import Streams
from benchmark.evaluation import Meter, correct, frozen, survives
from benchmark.memory import keep_memory
from benchmark.precision import in_precision


def reattack(
    case: str, n: str, iterations: str = "100", queries: str = "5000", precision: str = "float32"
) -> Work:
    """`aa_linf`, audit and all: the images that stand, and successes float32 does not confirm."""
    keep_memory()
    model, batch, facts = task(case, n)
    model = frozen(model)
    attack = AutoAttackLinf(facts.eps, iterations=int(iterations), queries=int(queries))
    rng, asked = Streams.named(len(batch.labels), "race"), in_precision(model, precision)

    def work() -> list[list[int]]:
        verdicts, attacked = survives(attack, asked, batch, Meter(), rng)
        clean = correct(model, batch).nonzero().flatten()
        inside = attack.threat.inside(batch.images[clean], attacked.images)
        wrong = model(attacked.images).argmax(dim=1) != batch.labels[clean]
        unproven = clean[~verdicts[clean] & ~(wrong & inside)]
        return [verdicts.nonzero().flatten().tolist(), unproven.tolist()]

    return work


def pyautoattack(case: str, n: str, iterations: str = "100", queries: str = "5000") -> Work:
    """`run_standard_evaluation` of a plain network in batches of 500."""
    from pyautoattack import AutoAttack

    plain, batch, facts = task(case, n)
    library = AutoAttack(plain, norm="Linf", eps=facts.eps, seed=0, version="standard")
    for part in (library.apgd, library.apgd_targeted, library.fab):
        part.n_iter = int(iterations)
    library.square.n_queries = int(queries)

    def work() -> list[list[int]]:
        perturbed, _ = library.run_standard_evaluation(*batch, batch_size=500)
        return [survivors(plain, perturbed, batch.labels), []]

    return work


CONTENDERS: dict[str, Callable[..., Work]] = {
    "reattack": reattack,
    "reattack_bfloat16": partial(reattack, precision="bfloat16"),
    "pyautoattack": pyautoattack,
}

if __name__ == "__main__":
    from racing import run_lap

    run_lap(CONTENDERS)
