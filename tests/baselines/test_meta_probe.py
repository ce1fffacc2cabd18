"""The probe says no to every way of training that only looks like meta-learning."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import run, tiny_plan
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, strengths_of
from baselines.meta import algorithms
from baselines.meta.probe import meta_gradient_probe
from baselines.meta.settings import MetaSettings
from benchmark.adaptation import adapt
from benchmark.contracts.toys import conv_net
from benchmark.core.errors import AuditError
from benchmark.data import load
from benchmark.evaluation.verdicts import state_hash

ALGORITHMS = ("maml", "fomaml", "anil", "reptile")


def probe(**options):
    data = load.load("digits", None, False, 0).train.first(200)
    attacks = [build_attack("fgsm", strengths_of("digits"))]
    model = conv_net((1, 8, 8), 10)
    before = state_hash(model)
    found = meta_gradient_probe(model, data, attacks, MetaSettings(inner_lr=0.1, **options))
    assert state_hash(model) == before
    assert all(tensor.grad is None for tensor in model.parameters())
    return found


@pytest.mark.parametrize("options", [{}, {"task_size": 64}, {"inner": "clean"}], ids=str)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_passes(algorithm, options):
    found = probe(algorithm=algorithm, **options)
    assert found["outer_gradient_of_query"] > 0.01
    if algorithm in ("maml", "anil"):
        assert found["inner_loop_curvature"] > 1e-4
    else:
        assert found["inner_loop_curvature"] == 0


def test_no_inner_steps_have_no_curvature_and_that_is_fine():
    assert probe(inner_steps=0)["inner_loop_curvature"] == 0


def support_only(learner, tasks, many):
    """The gradient is there, but it is that of the support."""
    logits = learner.model(torch.cat([task.support.images for task in tasks]))
    labels = torch.cat([task.support.labels for task in tasks])
    return cross_entropy(logits, labels).expand(len(tasks))


def on_a_copy(learner, tasks, many):
    """Scores frozen copies: the loss is a number, not a function of the weights."""
    copies = {name: tensor.detach() for name, tensor in many.items()}
    return meta_learning_losses(learner, tasks, copies)


meta_learning_losses = algorithms.outer_losses
TINY = "meta_adv[warmup_epochs=1,iterations=1,tasks=1]"


@pytest.mark.parametrize(
    ("losses", "reason"),
    [
        (support_only, "the outer gradient does not depend on the query"),
        (on_a_copy, "does not require grad"),
    ],
)
def test_a_query_without_a_say_stops_training(losses, reason, tmp_path, monkeypatch):
    monkeypatch.setattr(algorithms, "outer_losses", losses)
    done = run(tiny_plan(defenses=TINY, shots=[0]), tmp_path)
    assert done.ended == {"failed": 1}
    assert reason in done.records[0].reason
    assert not list((tmp_path / "models").glob("*.safetensors"))


def test_an_inner_loop_without_graph_is_seen(monkeypatch):
    real = adapt.inner_update
    monkeypatch.setattr(adapt, "inner_update", lambda *a: real(*a[:-1], True))
    assert probe(algorithm="fomaml")["inner_loop_curvature"] == 0
    with pytest.raises(AuditError, match="maml needs the graph of its inner loop"):
        probe(algorithm="maml")


def test_what_it_found_is_in_the_record(tmp_path):
    done = run(tiny_plan(defenses=TINY, shots=[0]), tmp_path)
    probes = done.prepared.model(done.records[0].cell).probes
    assert probes["outer_gradient_of_query"] > 0.01 and probes["inner_loop_curvature"] > 0
