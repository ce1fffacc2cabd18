"""W3: verdicts of AutoAttack on published networks; ours, and the authors' code as they give it.

`python tests/perf/autoattack_contenders.py NAME CASE IMAGES [ITERATIONS QUERIES]` runs one lap;
iterations and queries as published unless given.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pgd_contenders import CASES, Work, survivors, task
from racing import THREADS

from attacks.autoattack.autoattack import AutoAttackLinf
from benchmark.artifacts.settings import RunSettings
from benchmark.core.streams import Streams
from benchmark.evaluation.precision import in_precision
from benchmark.evaluation.verdicts import Meter, correct, frozen, survives
from benchmark.execution.allocator import keep_memory
from benchmark.execution.execute import execute
from benchmark.execution.loading import InputLoader
from benchmark.execution.processes import warm_up
from benchmark.execution.progress import QuietProgress
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.results.store import read_record, record_path


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


def reattack_command(
    case: str, n: str, iterations: str = "100", queries: str = "5000", precision: str = "float32"
) -> Work:
    """`aa_linf` as the command line runs it: a process for each core, records written and all."""
    facts, folder = CASES[case], Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    checkpoint = f"checkpoint[path={os.environ['REATTACK_CHECKPOINTS']}/{facts.file}]"
    wanted = {
        "defenses": checkpoint, "network": facts.network, "limit": int(n),
        "attacks": f"aa_linf[eps={facts.eps},iterations={iterations},queries={queries}]",
    }  # fmt: skip
    plan = make_plan(make_request(wanted), Suite(description="", dataset=facts.dataset, shots=[0]))
    settings = RunSettings(
        results=folder, data_dir=Path(os.environ["REATTACK_DATA"]), precision=precision,
        executor="processes", jobs=THREADS, threads=1,
    )  # fmt: skip
    warm_up()  # the command line does that while it plans
    keep_memory()
    (cell,) = plan.cells
    inputs = InputLoader(plan.attacks, plan.defenses, settings, QuietProgress()).inputs(cell)
    model, batch = inputs.trained.network, inputs.query(cell.limit)

    def work() -> list[list[int]]:
        execute(plan, settings, (checkpoint,), QuietProgress())
        outcome = read_record(record_path(folder, cell)).outcome
        assert outcome is not None
        stands = torch.from_numpy(outcome.before.unpack()[0]).bool()
        images = inputs.static(cell, Meter()).images
        threat = inputs.attacks[cell.attack].threat
        wrong = model(images).argmax(dim=1) != batch.labels
        unproven = ~stands & ~(wrong & threat.inside(batch.images, images))
        return [stands.nonzero().flatten().tolist(), unproven.nonzero().flatten().tolist()]

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
    "reattack_command": reattack_command,
    "reattack_command_bfloat16": partial(reattack_command, precision="bfloat16"),
    "reattack_bfloat16": partial(reattack, precision="bfloat16"),
    "pyautoattack": pyautoattack,
}

if __name__ == "__main__":
    from racing import run_lap

    run_lap(CONTENDERS)
