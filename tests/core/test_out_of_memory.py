"""Where memory does not suffice: smaller groups, said errors, and no silent loop."""

from __future__ import annotations

from shutil import copytree

import pytest
import torch
from test_model_batch import network, shown
from tiny_runs import run, table, tiny_plan

from baselines.networks.zoo import Normalised
from benchmark.adaptation.adapt import adapt_all
from benchmark.core import errors, model_batch
from benchmark.core.errors import heard_by, tell_once
from benchmark.core.out_of_memory import halved, in_parts, is_shortage
from benchmark.evaluation.verdicts import frozen
from benchmark.protocol import group
from benchmark.results.records import Budget


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(errors, "_told", set())


CPU = "[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: can't allocate memory: you tried"
SHORT = [
    RuntimeError(CPU), MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: out of memory"), RuntimeError("MPS backend out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]  # fmt: skip


@pytest.mark.parametrize("error", SHORT)
def test_work_is_halved_until_it_fits(error):
    tried = []

    def work(some):
        tried.append(len(some))
        if len(some) > 2:
            raise error
        return [2 * one for one in some]

    assert in_parts(range(7), 6, work) == [0, 2, 4, 6, 8, 10, 12]
    assert tried == [6, 3, 2, 2, 2, 1]
    assert is_shortage(error)


@pytest.mark.parametrize("error", [*SHORT, RuntimeError("out of order"), ValueError("no")])
def test_what_halving_does_not_help_comes_through(error):
    def work(some):
        raise error

    with pytest.raises(type(error)):
        in_parts(range(3), 2, work)


@pytest.mark.parametrize("error", SHORT)
def test_images_are_halved_until_they_fit_and_stay_so(error):
    tried = []

    def work(rows):
        tried.append(rows.tolist())
        if len(rows) > 2:
            raise error
        return 2 * rows

    parts = torch.arange(9).split([7, 2])
    assert torch.cat([*halved(parts, work)]).tolist() == [2 * row for row in range(9)]
    assert [len(rows) for rows in tried] == [7, 4, 2, 2, 2, 1, 2]
    assert [*halved([], work)] == []


@pytest.mark.parametrize("error", [*SHORT, RuntimeError("out of order"), ValueError("no")])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_images_that_never_fit_come_through(error, count):
    def work(rows):
        raise error

    with pytest.raises(type(error)):
        [*halved([torch.arange(count)], work)]


def test_a_run_attacks_fewer_images_at_once_where_memory_is_short(tmp_path, monkeypatch):
    """The model as it was trained, the adapted ones, and what is asked for a verdict."""
    plan = tiny_plan(attacks="pgd_linf[steps=2],hop_skip_jump[queries=30]", episodes=1, limit=40)
    expected = run(plan, tmp_path / "usual").records
    genuine, asked = Normalised.forward, []

    def short(self, images):
        asked.append(len(images))
        if len(images) > 30:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(self, images)

    copytree(tmp_path / "usual/models", tmp_path / "short/models")
    monkeypatch.setattr(Normalised, "forward", short)
    found = run(plan, tmp_path / "short")
    assert max(asked) > 30
    assert "memory is short: going on with at most 20 images at once" in found.log.notes
    for one, other in zip(expected, found.records, strict=True):
        for name in ("clean_before", "before", "clean", "static", "reattacked"):
            verdicts = (table(getattr(each.outcome, name)).tolist() for each in (one, other))
            assert len({str(each) for each in verdicts}) == 1


def test_torch_says_so_when_a_cpu_has_no_memory_left():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_shortage(caught.value)


def test_a_run_attacks_fewer_models_at_once_where_memory_is_short(tmp_path, monkeypatch):
    expected = run(tiny_plan(episodes=3), tmp_path / "usual").records
    genuine, sizes = group.attack_again, []

    def short(draws, *rest):
        sizes.append(len(draws))
        if len(draws) > 1:
            raise RuntimeError(CPU)
        return genuine(draws, *rest)

    monkeypatch.setattr(group, "attack_again", short)
    found = run(tiny_plan(episodes=3), tmp_path / "short").records
    assert sizes == [3, 2, 1, 1, 1]
    for one, other in zip(expected, found, strict=True):
        assert table(one.outcome.reattacked).tolist() == table(other.outcome.reattacked).tolist()


def test_weights_bound_how_many_models_are_attacked_at_once(tmp_path, monkeypatch):
    genuine, sizes = group.attack_again, []

    def note(draws, *rest):
        sizes.append(len(draws))
        return genuine(draws, *rest)

    monkeypatch.setattr(group, "attack_again", note)
    monkeypatch.setattr(group, "MOST_BYTES", 1)
    run(tiny_plan(episodes=3), tmp_path)
    assert sizes == [1, 1, 1]


def adapt_two(model):
    budget = Budget(shots=1, method="finetune", steps=1, lr=0.1)
    return adapt_all(model, budget, [lambda _: shown((1, 8, 8), 10, "short")] * 2)


def test_a_lack_of_memory_is_no_trait_of_the_network(monkeypatch):
    """It may not turn into a loop that nobody hears of, for good."""
    genuine = model_batch.vmap

    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    model, told = frozen(network("small_cnn")), []
    monkeypatch.setattr(model_batch, "vmap", full)
    with heard_by(told.append):
        one_by_one = adapt_two(model)
    assert told == ["memory is short: going on with at most 1 adapted models at once"]
    assert model not in model_batch._BATCHES
    monkeypatch.setattr(model_batch, "vmap", genuine)
    for one, other in zip(one_by_one, adapt_two(model), strict=True):
        for name, tensor in one.parameters.items():
            assert torch.allclose(tensor, other.parameters[name], atol=1e-6)


def test_what_vmap_cannot_do_is_said_once():
    class Branching(torch.nn.Sequential):
        def forward(self, images):
            return super().forward(images * (1 if images.sum().item() > 0 else 2))

    told = []
    with heard_by(told.append):
        for _ in range(2):
            made = Branching(torch.nn.Flatten(), torch.nn.Linear(64, 10))
            adapt_two(frozen(made))
    assert len(told) == 1
    assert told[0].startswith("many adapted models of this network are asked one by one: ")


def test_a_line_is_kept_for_whoever_listens():
    told = []
    tell_once("something that nobody has heard")
    for _ in range(2):
        with heard_by(told.append):
            tell_once("something that nobody has heard")
    assert told == ["something that nobody has heard"]
