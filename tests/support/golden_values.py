"""What components and shared parts do on toys, in a few numbers that no last bit of a float moves.

    python -m pytest tests/identity/test_golden.py --write-golden

writes `golden.json` anew, after a change that is meant and has a new version.
"""

from __future__ import annotations

import importlib
import json
from functools import cache
from pathlib import Path

import torch

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from baselines import DEFENSES
from baselines.build import build_defense
from baselines.networks.zoo import NETWORKS, build_network
from benchmark.adaptation.adapt import adapt_all
from benchmark.contracts import attack_probe, defense_probe
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data.load import load
from benchmark.data.splits import minibatches, support_and_query
from benchmark.evaluation.verdicts import Meter, correct, survives
from benchmark.results.records import Budget

FILE = Path(__file__).with_name("golden.json")
ROOT = Path(__file__).parents[2]
SHAPES = ((1, 8, 8), (3, 8, 8), (3, 32, 32))
"""Of toy images: the first that an attack takes."""
CLASSES = 10
OPTIONAL = {"cleverhans", "foolbox", "adv_lib", "art"}
"""Packages that need not be here."""


@cache
def golden() -> dict[str, dict]:
    """What is kept: by name the version, and the numbers of that version."""
    return json.loads(FILE.read_text("utf-8")) if FILE.is_file() else {}


def plain(value: float | torch.Tensor) -> float:
    """Six digits."""
    return float(f"{float(value):.6g}")


def attack(name: str) -> tuple[int, dict]:
    """Verdicts on toy images, and how far an attack moves them."""
    made = build_attack(name, strengths_of("digits"))
    made = attack_probe.cheaper(made, attack_probe.CUTS, frozenset())
    shape = next(shape for shape in SHAPES if made.cannot_run(shape, CLASSES) is None)
    model = conv_net(shape, CLASSES)
    batch = some_images(model, shape, 8)
    made = attack_probe.informed(made, model, batch)
    rng = Streams.named(8, "golden", name)
    robust, attacked = survives(made, model, batch, Meter(), rng)
    moved = (attacked.images - batch.images).abs().flatten(1).mean(dim=1)
    verdicts = "".join(str(int(one)) for one in robust)
    return made.version, {"verdicts": verdicts, "moved": list(map(plain, moved))}


def defense(name: str) -> tuple[int, dict]:
    """How far a short training moves the weights, and what the network answers after it."""
    _, made = build_defense(name)
    subject = defense_probe.DefenseUnderTest(defense_probe.cheaper(made, {}), "digits", {})
    before = defense_probe.network_for("digits").state_dict()
    after = subject.trained.model.state_dict()
    moved = [(after[key].float() - before[key].float()).norm() for key in sorted(before)]
    return made.version, {"moved": list(map(plain, moved)), "logits": plain(subject.logits().std())}


def splits() -> dict:
    """Which images are shown, scored and trained on, and in which order."""
    data = load("digits", None, False, 0)
    drawn = support_and_query(data, 2, seed=1, episode=1, limit=5)
    first = next(iter(minibatches(data.train, 5, stream("golden"))))
    return {
        "support": drawn.support.ids.tolist(), "query": drawn.query.ids.tolist(),
        "batch": first.labels.tolist(), "pixels": plain(first.images.mean()),
    }  # fmt: skip


def inner_loop() -> dict:
    """How far each method moves a toy."""
    model = conv_net((1, 8, 8), CLASSES)
    batch = some_images(model, (1, 8, 8), 8, wrong=4)
    found = {}
    for method in ("finetune", "trust", "head", "norm"):
        budget = Budget(shots=1, method=method, steps=3, lr=0.1)
        (one,) = adapt_all(model, budget, [lambda _: batch])
        found[method] = [plain(one.moved), *map(plain, one.support_loss)]
    return found


def networks() -> dict:
    """Size, initial weights and answers of every network."""
    found = {}
    for name in sorted(NETWORKS):
        for shape in ((1, 8, 8), (1, 28, 28), (3, 32, 32)):
            try:
                model = build_network(name, shape, CLASSES, stream("golden", name)).eval()
            except ValueError:
                continue
            images = torch.rand(2, *shape, generator=stream("golden", *shape))
            with torch.no_grad():
                logits = model(images)
            size = sum(parameter.numel() for parameter in model.parameters())
            found[name] = [size, plain(logits.mean()), plain(logits.std())]
            break
    return found


def streams() -> dict:
    """Draws of images and of generators."""
    rng = Streams.named(2, "golden", "streams")
    drawn = [*rng.uniform((2,)).flatten(), *rng.normal((2,)).flatten()]
    other = torch.rand(2, generator=stream("golden", 1))
    return {"streams": list(map(plain, drawn)), "generator": list(map(plain, other))}


def verdicts() -> dict:
    """What is right on a toy, and what an attack leaves standing."""
    model = conv_net((1, 8, 8), CLASSES)
    batch = some_images(model, (1, 8, 8), 8, wrong=2)
    made = build_attack("uniform_noise[draws=2]", strengths_of("digits"))
    stands, attacked = survives(made, model, batch, Meter(), Streams.named(8, "golden"))
    right = correct(model, Batch(batch.images, batch.labels))
    return {
        "right": right.tolist(), "stands": stands.tolist(),
        "moved": plain((attacked.images - batch.images[right]).abs().mean()),
    }  # fmt: skip


def protocol() -> dict:
    """A group on digits: what adapting does, and how many images stand."""
    import tempfile

    from tiny_runs import run, tiny_plan

    with tempfile.TemporaryDirectory() as folder:
        plan = tiny_plan("fgsm", sequence="fgsm,fgm_l2", shots=[0, 1], steps=2, limit=20)
        records = run(plan, Path(folder)).records
    return {
        f"{one.cell.attack} {one.cell.budget.shots} {len(one.cell.arrivals)}": [
            *map(plain, one.outcome.moved), *(plain(loss) for pair in one.outcome.support_loss
            for loss in pair),
        ]
        for one in records
    }  # fmt: skip


def threats() -> dict:
    """What is found out about pairs of digits, and what adapting with that does."""
    import tempfile

    from tiny_runs import run, tiny_plan

    with tempfile.TemporaryDirectory() as folder:
        plan = tiny_plan(
            "rotation_translation,occlusion,fgm_l2", shots=[2], steps=2, limit=20, episodes=1,
            methods=["amplify[own=10,every=1]"], knowledge=["simulated"],
        )  # fmt: skip
        records = run(plan, Path(folder)).records
    return {
        one.cell.attack: [
            one.outcome.inferred[0].kind, plain(one.outcome.moved[0]),
            plain(one.outcome.inferred[0].size),
        ]
        for one in records
    }  # fmt: skip


SHARED = {
    "benchmark.core": streams,
    "benchmark.data": splits,
    "benchmark.adaptation": inner_loop,
    "benchmark.evaluation": verdicts,
    "benchmark.protocol": protocol,
    "baselines.networks": networks,
    "attacks.engine": lambda: attack("pgd_linf")[1] | attack("rotation_translation")[1],
    "attacks.autoattack": lambda: attack("aa_linf")[1],
    "attacks.threats": threats,
    "attacks.libraries": lambda: attack("ta_pgd_linf")[1],
    "baselines.training": lambda: defense("standard")[1],
    "baselines.meta": lambda: defense("meta_adv")[1],
}
"""The folders that declare a version."""


def shared(name: str) -> tuple[int, dict]:
    """What a shared part does."""
    return importlib.import_module(name).VERSION, SHARED[name]()


KINDS = {"attack": attack, "defense": defense, "shared": shared}


def names() -> list[tuple[str, str]]:
    """Kind and name of all that has a version and is trained or run here."""
    trained = [name for name in DEFENSES.names() if DEFENSES.get(name).trains]
    return [
        *(
            ("attack", name)
            for name in ATTACKS.names()
            if not OPTIONAL & {*ATTACKS.get(name).modules}
        ),
        *(("defense", name) for name in trained),
        *(("shared", name) for name in SHARED),
    ]
