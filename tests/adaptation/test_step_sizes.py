"""Learned step sizes: kept with the model, counted in its hash, used by adaptation."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import run, tiny_plan

from baselines.networks.weights import fit_weights
from benchmark.adaptation.adapt import adapt, inner_loop
from benchmark.adaptation.parameters import trainable
from benchmark.adaptation.step_sizes import attach, load, step_sizes
from benchmark.contracts.defense_probe import network_for
from benchmark.contracts.toys import conv_net
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import frozen, state_hash
from benchmark.results.records import Budget
from benchmark.results.weights import read_weights, write_weights

META = "meta_adv[warmup_epochs=1,iterations=3,tasks=1,shots=1,query=1,meta_sgd=true]"


def sizes_of(model, names=None):
    return {
        name: torch.rand(tensor.shape, generator=stream("sizes", name)) / 5
        for name, tensor in model.named_parameters()
        if names is None or name in names
    }


def shown():
    return Batch(torch.rand(10, 1, 8, 8, generator=stream("shown")), torch.arange(10))


def test_they_are_kept_with_the_model_and_count_in_its_hash(tmp_path):
    model, fresh = conv_net((1, 8, 8), 10), conv_net((1, 8, 8), 10)
    bare, sizes = state_hash(model), sizes_of(model)
    attach(model, sizes)
    assert state_hash(model) != bare
    write_weights(tmp_path / "m.safetensors", model.state_dict(), {})
    saved = read_weights(tmp_path / "m.safetensors")
    assert sum(name.startswith("step_sizes/") for name in saved.tensors) == len(sizes)
    load(fresh, saved.tensors)
    assert state_hash(fresh) == state_hash(model) == state_hash(frozen(fresh))
    for name, tensor in step_sizes(frozen(fresh)).items():
        assert torch.equal(tensor, sizes[name])
    attach(fresh, {})
    assert state_hash(fresh) == bare and not step_sizes(fresh)


def test_a_checkpoint_and_a_warm_start_bring_them_along():
    """Both copy weights with `fit_weights`; weights without them take them away."""
    model, fresh = network_for("digits"), network_for("digits")
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attach(model, sizes_of(model))
    fit_weights(fresh, model.state_dict())
    assert state_hash(fresh) == state_hash(model)
    fit_weights(fresh, plain)
    assert not step_sizes(fresh)


def test_they_change_no_answer():
    model, images = conv_net((1, 8, 8), 10).eval(), shown().images
    before = model(images)
    attach(model, sizes_of(model))
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("lr", [1.0, 0.5])
def test_learned_adaptation_steps_by_them(lr):
    """theta - lr * size * gradient, number by number; what has no size stays."""
    model = conv_net((1, 8, 8), 10)
    some = [name for name, _ in model.named_parameters()][2:]
    sizes = sizes_of(model, some)
    attach(model, sizes)
    assert trainable(model, "learned", torch.empty(0)) == list(sizes)
    adapted = adapt(
        frozen(model), Budget(shots=1, method="learned", steps=3, lr=lr), lambda _: shown()
    )
    plain = frozen(model).requires_grad_()
    for _ in range(3):
        parameters = dict(plain.named_parameters())
        loss = torch.nn.functional.cross_entropy(plain(shown().images), shown().labels)
        slopes = torch.autograd.grad(loss, [parameters[name] for name in sizes])
        with torch.no_grad():
            for name, slope in zip(sizes, slopes, strict=True):
                parameters[name] -= lr * sizes[name] * slope
    assert adapted.moved > 1e-3
    for name, tensor in adapted.model.named_parameters():
        assert torch.allclose(tensor, dict(plain.named_parameters())[name], atol=1e-6), name


def test_equal_sizes_are_fine_tuning():
    model = conv_net((1, 8, 8), 10)
    start = {name: tensor.detach() for name, tensor in model.named_parameters()}
    usual = inner_loop(model, start, lambda _: shown(), 2, 0.1)
    sizes = {name: torch.full_like(tensor, 0.1) for name, tensor in start.items()}
    learned = inner_loop(model, start, lambda _: shown(), 2, sizes)
    assert all(torch.equal(usual[name], learned[name]) for name in start)


def test_a_run_trains_keeps_and_uses_them(tmp_path):
    values = {"defenses": META, "methods": ["learned", "finetune"], "shots": [1], "episodes": 1}
    done = run(tiny_plan(**values), tmp_path)
    assert done.ended == {"done": 2}
    moved = {record.cell.budget.method: record.outcome.moved for record in done.records}
    assert moved["learned"] != moved["finetune"]
    sizes = step_sizes(done.prepared.model(done.records[0].cell).network)
    spread = torch.cat([tensor.flatten() for tensor in sizes.values()])
    assert (spread > 0).all() and (spread != 0.02).any(), "positive, and not what they began with"
    (path,) = (tmp_path / "models").glob("*.safetensors")
    before = path.read_bytes()
    for record in (tmp_path / "records").rglob("*.json"):
        record.unlink()
    again = run(tiny_plan(**values), tmp_path)
    assert path.read_bytes() == before and again.log.trained == []
    assert [r.outcome for r in again.records] == [r.outcome for r in done.records]


def test_a_model_without_them_is_skipped_with_the_reason(tmp_path):
    done = run(tiny_plan(methods=["learned"], shots=[1]), tmp_path)
    assert done.ended == {"skipped": 1}
    assert done.records[0].reason.startswith("the model has no learned step sizes, as meta_adv[")
