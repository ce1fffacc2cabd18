"""A training that is killed goes on where its last snapshot was, bit for bit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tiny_runs import run, tiny_plan
from torch import nn

from attacks.build import strengths_of
from baselines import DEFENSES
from baselines.meta import algorithms, loop
from baselines.training import resumable_progress as courses
from baselines.training.ledger import Ledger
from baselines.training.resumable_progress import ResumableProgress, Unusable
from baselines.training.snapshot import TrainingState, keep, restore
from benchmark.contracts.defense_probe import network_for
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.data import load
from benchmark.evaluation.verdicts import state_hash

META = "warmup_epochs=2,iterations=6,tasks=2,shots=1,query=1"
DEFENSE = {
    "rebuilt": f"meta_adv[{META},meta_sgd=true,rehearse=true]",
    "fixed": f"meta_adv[{META},meta_sgd=true,pool=fixed,pool_size=4]",
    "training": "pgd_at[epochs=6,attack_steps=2]",
    "free": "free[epochs=6,replays=2]",
    "e_at": "e_at[epochs=6,attack_steps=2]",
    "recipe": "pgd_at[epochs=6,attack_steps=2,optimizer=sgd,lr=0.05,warmup=0.2,augment=crop+flip,"
    "average=0.9,early_stopping=40]",
}


def fit(text, progress):
    """200 digits, the same stream each time."""
    split = load.load("digits", None, False, 0).train.first(200)
    defense = DEFENSES.build(Spec.parse(text))
    return defense.fit(
        network_for("digits"), split, strengths_of("digits"), progress, stream("resume")
    )


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from baselines.training import resumable_progress as course
from test_snapshot import fit
from pathlib import Path
course.EVERY = 0.0
text, path, when = sys.argv[1:]
def progress(share):
    print(share, flush=True)
    if share > float(when):
        os.kill(os.getpid(), signal.SIGKILL)
fit(text, course.ResumableProgress(progress, Path(path)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("rebuilt", 0.2),
        ("fixed", 0.7),
        ("training", 0.4),
        ("free", 0.4),
        ("e_at", 0.4),
        ("recipe", 0.5),
    ],
)
def test_a_killed_training_ends_as_an_undisturbed_one(name, when, tmp_path):
    """kill -9 in the warm-up, or in meta-training; then again from the snapshot."""
    path = tmp_path / "x.training.safetensors"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, DEFENSE[name], path, str(when)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    reached = float(killed.stdout.split()[-1])
    assert when < reached < 1 and path.is_file()
    shares, again = [], []
    undisturbed = fit(DEFENSE[name], shares.append)
    resumed = fit(DEFENSE[name], ResumableProgress(again.append, path))
    assert again == [share for share in shares if share > reached], "nothing is done twice"
    assert state_hash(resumed.model) == state_hash(undisturbed.model)
    for field in ("forwards", "backwards", "images", "updates"):
        assert getattr(resumed.cost, field) == getattr(undisturbed.cost, field), field
    assert resumed.trained_on == undisturbed.trained_on
    assert resumed.probes == undisturbed.probes


def test_the_snapshot_is_written_while_training_and_removed_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(courses, "EVERY", 0.0)
    written, real = [], courses.write_weights
    monkeypatch.setattr(
        courses, "write_weights", lambda path, *rest: written.append(path) or real(path, *rest)
    )
    plan = tiny_plan(defenses=DEFENSE["rebuilt"], shots=[0])
    done = run(plan, tmp_path)
    assert done.ended == {"done": 1}
    (model,) = (tmp_path / "models").glob("*.safetensors")
    assert set(written) == {model.with_suffix(".training.safetensors")}
    assert len(written) == 2 + 6, "each epoch of the warm-up, each iteration"


def test_nothing_is_written_before_a_minute_is_over(tmp_path):
    """But for the log, when training ends."""
    fit(DEFENSE["training"], ResumableProgress(lambda _: None, tmp_path / "x"))
    assert [path.suffix for path in tmp_path.iterdir()] == [".csv"]


def test_a_loop_without_a_name_keeps_nothing(tmp_path, monkeypatch):
    """Two loops in one defense of somebody else's must not go on in the wrong one."""
    monkeypatch.setattr(courses, "EVERY", 0.0)
    course = ResumableProgress(lambda _: None, tmp_path / "x")
    assert not course.due() and course.last() is None
    course.keep({"a": torch.ones(1)}, {})
    assert not list(tmp_path.iterdir())
    course.part("one").keep({"a": torch.ones(1)}, {"n": 3})
    assert course.part("two").last() is None
    assert course.part("one").last().notes == {"n": 3}


def test_a_broken_snapshot_is_nothing_to_go_on_from(tmp_path):
    course = ResumableProgress(lambda _: None, tmp_path / "x").part("training")
    course.keep({"a": torch.ones(3)}, {})
    assert course.last() is not None
    (tmp_path / "x").write_bytes((tmp_path / "x").read_bytes()[:40])
    with pytest.raises(Unusable, match=f"^{tmp_path / 'x'}: not a readable"):
        course.last()


def test_everything_a_step_changes_comes_back(tmp_path):
    def state(seed):
        model = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=stream("w", seed)))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        more = {"x": torch.full((2,), float(seed))}
        return TrainingState(model, optimizer, Ledger(), stream("rng", seed), more)

    def step(state):
        state.optimizer.zero_grad()
        inputs = torch.randn(4, 3, generator=state.rng)
        state.model(inputs).square().mean().backward()
        state.optimizer.step()
        state.ledger.update(4)
        state.ledger.meter.forwards += 4

    course = ResumableProgress(lambda _: None, tmp_path / "x").part("loop")
    ours, other = state(1), state(2)
    for _ in range(3):
        step(ours)
    keep(course, ours, {"steps": 3})
    assert restore(course, other, {"steps": 0}) == {"steps": 3}
    assert torch.equal(other.more["x"], ours.more["x"])
    for _ in range(2):
        step(ours)
        step(other)
    assert state_hash(ours.model) == state_hash(other.model)
    assert ours.ledger == other.ledger


# A meta-loss that is not finite.


def test_a_meta_loss_that_is_not_finite_says_where_and_leaves_the_weights_before_it(
    tmp_path, monkeypatch
):
    real, steps = loop.outer_gradient, []

    def broken(learner, tasks):
        steps.append(state_hash(learner.model))
        if len(steps) == 4:
            tasks = [
                task._replace(query=task.query._replace(images=task.query.images * float("nan")))
                for task in tasks
            ]
        return real(learner, tasks)

    monkeypatch.setattr(loop, "outer_gradient", broken)
    plan = tiny_plan(defenses=DEFENSE["rebuilt"], shots=[0])
    done = run(plan, tmp_path)
    assert done.ended == {"failed": 1}
    said = re.search(
        r"diverged at meta-iteration 4: the meta-loss on tasks of pgd_l\w+ \(l\w+ [\d.]+\) is nan; "
        r"the last finite weights are in (\S+); try a lower learning rate", done.records[0].reason
    )  # fmt: skip
    with safe_open(said[1], framework="pt") as file:
        assert json.loads(file.metadata()["notes"])["iterations"] == 3
        network = network_for("digits")
        network.load_state_dict(
            {n.removeprefix("model/"): file.get_tensor(n) for n in file.keys() if n[:6] == "model/"}  # noqa: SIM118
        )
    assert state_hash(network) == steps[3], "as they were before the step that failed"
    assert Path(said[1]).parent == tmp_path / "models"
    assert not [
        p
        for p in (tmp_path / "models").iterdir()
        if p.suffix == ".safetensors" and "training" not in p.name
    ]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_both_loss_and_gradient_must_be_finite(what, tmp_path, monkeypatch):
    """sqrt is 0 at 0, where its slope is not finite: the weights must not take that step."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = state_hash(model)

    def losses(learner, tasks, many):
        zero = sum((tensor * 0).sum() for tensor in many.values())
        return (zero.sqrt() if what == "gradient" else zero + float("inf")).expand(len(tasks))

    monkeypatch.setattr(algorithms, "outer_losses", losses)
    defense = DEFENSES.build(Spec.parse("meta_adv[warmup_epochs=0,iterations=1,shots=1,query=1]"))
    split = load.load("digits", None, False, 0).train.first(200)
    said = f"at meta-iteration 1: the meta-{what} on tasks of .* is .*; nothing is kept; try"
    with pytest.raises(AuditError, match=said):
        defense.fit(model, split, strengths_of("digits"), lambda _: None, stream("x"))
    assert state_hash(model) == before
