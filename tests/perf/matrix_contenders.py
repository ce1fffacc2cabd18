"""W1: the few-shot matrix with re-attack on MNIST; ours, and the script anybody would write.

One defense, five gradient attacks, K of {0, 1, 5, 10}, E episodes, n query images. Both adapt by
ten steps of gradient descent on K attacked and K clean images per class, both attack every adapted
model again, and both score the stored examples too: what is compared is robust@K, both together.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from racing import THREADS, run_lap
from torch.nn.functional import cross_entropy

from baselines.networks.zoo import build_network
from benchmark.artifacts.settings import RunSettings
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.data.splits import support_and_query
from benchmark.execution.execute import execute
from benchmark.execution.loading import InputLoader
from benchmark.execution.progress import QuietProgress
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.protocol.inputs import Inputs
from benchmark.results.store import read_record, record_path

SHOTS = [0, 1, 5, 10]
STEPS, LR = 10, 0.02
EPS = {"linf": 0.3, "l2": 2.0}
TURNS = int(os.environ.get("REATTACK_STEPS", "40"))
"""Of the attacks; 40 is usual on MNIST (Madry et al. 2018) and our default."""
ATTACKS = ("fgsm", *(f"{name}[steps={TURNS}]" for name in ("pgd_linf", "pgd_l2", "bim", "mifgsm")))
Work = Callable[[], Any]


def network_of(defense: str) -> str:
    """The published network of a checkpoint, else ours."""
    return "lenet5" if defense.startswith("checkpoint") else "small_cnn"


def plain(network: str, trained: torch.nn.Module) -> torch.nn.Module:
    """The network as anybody has it: without what we do to make one fast."""
    model = build_network(network, (1, 28, 28), 10, stream(0))
    model.load_state_dict(trained.state_dict())
    return model.eval()


def prepare(
    defense: str, episodes: str, n: str, folder: str, models: str, reattack: str = "all"
) -> tuple[Plan, RunSettings]:
    """The plan, with the trained model (made once, kept in `models`) in place."""
    suite = Suite(description="", dataset="mnist", shots=SHOTS, episodes=int(episodes))
    wanted = {
        "defenses": defense, "attacks": ",".join(ATTACKS), "limit": int(n),
        "network": network_of(defense), "steps": STEPS, "lr": LR,
    }  # fmt: skip
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    Path(models).mkdir(parents=True, exist_ok=True)
    if not (place / "models").exists():
        (place / "models").symlink_to(Path(models).resolve())
    plan = make_plan(make_request(wanted), suite)
    settings = RunSettings(
        results=place, data_dir=Path(os.environ["REATTACK_DATA"]), no_cache=True, threads=1,
        executor="here" if THREADS == 1 else "processes", jobs=THREADS, reattack=reattack,
    )  # fmt: skip
    inputs_of(plan, settings)
    return plan, settings


def inputs_of(plan: Plan, settings: RunSettings) -> Inputs:
    """What its cells are evaluated with."""
    loader = InputLoader(plan.attacks, plan.defenses, settings, QuietProgress())
    return loader.inputs(plan.cells[0])


def reattack(
    defense: str, episodes: str, n: str, folder: str, models: str, reattack: str = "all"
) -> Work:
    """Ours, as the command line runs it: a process for each core, records written and all."""
    from benchmark.execution.allocator import keep_memory
    from benchmark.execution.processes import warm_up

    if THREADS > 1:
        warm_up()  # the command line does that while it plans
    keep_memory()
    shutil.rmtree(folder + "/ours", ignore_errors=True)
    plan, settings = prepare(defense, episodes, n, folder + "/ours", models, reattack)

    def work() -> Any:
        ended = execute(plan, settings, (defense,), QuietProgress())
        assert set(ended) == {"done"}, ended
        found = {}
        for cell in plan.cells:
            outcome = read_record(record_path(settings.results, cell)).outcome
            assert outcome is not None
            robust = outcome.static.unpack() & outcome.reattacked.unpack()
            found[f"{cell.attack} {cell.budget.shots}"] = robust.astype(int).tolist()
        return found

    return work


def script(defense: str, episodes: str, n: str, folder: str, models: str) -> Work:
    """deepcopy, a loop of SGD, and torchattacks on each adapted model."""
    import torchattacks as ta

    plan, settings = prepare(defense, episodes, n, folder + "/script", models)
    cell, inputs = plan.cells[0], inputs_of(plan, settings)
    dataset, query = inputs.data, inputs.query(cell.limit)
    trained = plain(cell.network, inputs.trained.network)
    linf, l2 = EPS["linf"], EPS["l2"]
    attacks = {
        ATTACKS[0]: lambda m: ta.FGSM(m, linf),
        ATTACKS[1]: lambda m: ta.PGD(m, linf, 2.5 * linf / TURNS, TURNS),
        ATTACKS[2]: lambda m: ta.PGDL2(m, l2, 2.5 * l2 / TURNS, TURNS),
        ATTACKS[3]: lambda m: ta.BIM(m, linf, 2.5 * linf / TURNS, TURNS),
        ATTACKS[4]: lambda m: ta.MIFGSM(m, linf, 2.5 * linf / TURNS, TURNS),
    }

    def right(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return (model(images).argmax(dim=1) == query.labels).int()

    def adapted(shown: Batch, clean: Batch) -> torch.nn.Module:
        model = deepcopy(trained).requires_grad_()
        optimizer = torch.optim.SGD(model.parameters(), lr=LR)
        images = torch.cat([shown.images, clean.images])
        labels = torch.cat([shown.labels, clean.labels])
        for _ in range(STEPS):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
        return model.eval().requires_grad_(False)

    def work() -> Any:
        found: dict[str, list[list[int]]] = {}
        for name, build in attacks.items():
            stored = build(trained)(query.images, query.labels)
            found[f"{name} 0"] = [right(trained, stored).tolist()]
            for shots in SHOTS[1:]:
                rows = []
                for episode in range(int(episodes)):
                    support = support_and_query(dataset, shots, 0, episode, int(n)).support.batch()
                    shown = Batch(build(trained)(*support), support.labels)
                    clean = dataset.train.first(len(support.labels)).batch()
                    model = adapted(shown, clean)
                    right(model, query.images)
                    again = build(model)(query.images, query.labels)
                    rows.append((right(model, stored) * right(model, again)).tolist())
                found[f"{name} {shots}"] = rows
        return found

    return work


CONTENDERS: dict[str, Callable[..., Work]] = {
    "reattack": reattack,
    "reattack_standing": partial(reattack, reattack="standing"),
    "reattack_bfloat16": partial(reattack, precision="bfloat16", reattack="standing"),
    "script": script,
}

if __name__ == "__main__":
    run_lap(CONTENDERS)
