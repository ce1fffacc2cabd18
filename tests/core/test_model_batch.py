"""Many models in one call against the same models one by one."""

import pytest
import torch
from attack_tasks import dealt
from torch import nn
from torch.nn.functional import cross_entropy

from attacks.gradient import PGDL2, PGDLinf
from baselines.networks.zoo import build_network
from benchmark.adaptation.adapt import adapt, adapt_all, alike, as_one
from benchmark.adaptation.parameters import trainable
from benchmark.contracts.toys import conv_net
from benchmark.core import model_batch
from benchmark.core.model_access import select_rows
from benchmark.core.model_batch import ModelBatch, side_by_side
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation.precision import in_precision
from benchmark.evaluation.verdicts import Meter, correct, frozen, metered, state_hash, survives
from benchmark.results.records import Budget

SHAPES = {
    "small_cnn": (1, 8, 8), "lenet5": (1, 28, 28), "resnet2b": (3, 32, 32),
    "resnet20": (3, 32, 32),
}  # fmt: skip
METHODS = ("finetune", "head", "norm")
CASES = [
    (network, method)
    for network in SHAPES
    for method in METHODS
    if (network, method) not in {("lenet5", "norm"), ("resnet2b", "norm")}  # they have none
]


def network(name):
    return frozen(build_network(name, SHAPES[name], 10, stream("stacked", name)))


def shown(shape, n, name):
    images = torch.rand(n, *shape, generator=stream("shown", name, n))
    return Batch(images, torch.arange(n) % 10)


def some_models(name, method="finetune", sizes=(10, 10, 20, 3)):
    """Models adapted to different numbers of images, in one call; and what each was shown."""
    model, shape = network(name), SHAPES[name]
    batches = [shown(shape, size, index) for index, size in enumerate(sizes)]
    shows = [lambda _, batch=batch: batch for batch in batches]
    budget = Budget(shots=1, method=method, steps=3, lr=0.05)
    return model, budget, shows, adapt_all(model, budget, shows)


@pytest.fixture
def all_in_one_call(monkeypatch):
    """As on a GPU: one vmap call, whatever the sizes."""
    monkeypatch.setattr(model_batch, "SMALL", 10**9)
    monkeypatch.setattr(
        "benchmark.adaptation.adapt.alike", lambda batches: [list(range(len(batches)))]
    )


@pytest.mark.parametrize(("name", "method"), CASES)
def test_adapting_together_is_adapting_one_by_one(name, method, all_in_one_call):
    """Episodes and budgets of different sizes in one vmap call: logits equal to 1e-5."""
    model, budget, shows, together = some_models(name, method)
    images = torch.rand(5, *SHAPES[name], generator=stream("images"))
    for show, one in zip(shows, together, strict=True):
        alone = adapt(model, budget, show)
        assert torch.allclose(one.model(images), alone.model(images), atol=1e-5)
        assert set(one.parameters) == set(trainable(model, method, images))
        assert one.moved == pytest.approx(alone.moved, rel=1e-4) and one.moved > 1e-6
        assert one.support_loss == pytest.approx(alone.support_loss, abs=1e-5)


@pytest.mark.parametrize("name", ["small_cnn", "resnet2b"])
def test_together_is_plain_gradient_descent(name, all_in_one_call):
    _, budget, shows, together = some_models(name)
    for show, one in zip(shows, together, strict=True):
        plain = network(name).requires_grad_()
        optimizer = torch.optim.SGD(plain.parameters(), lr=budget.lr)
        for _ in range(budget.steps):
            optimizer.zero_grad()
            cross_entropy(plain(show(None).images), show(None).labels).backward()
            optimizer.step()
        for key, tensor in plain.named_parameters():
            assert torch.allclose(one.parameters[key], tensor, atol=1e-5), key


@pytest.mark.parametrize("small", [0, 10**9], ids=["loop", "vmap"])
@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_stack_answers_for_each_model(name, method, small, monkeypatch):
    """Logits and gradients of unequal shares of a batch: in float64, where no ReLU is in doubt."""
    monkeypatch.setattr(model_batch, "SMALL", small)
    adapted = [
        one._replace(
            trained=one.trained.double(),
            parameters={key: tensor.double() for key, tensor in one.parameters.items()},
        )
        for one in some_models(name, method)[-1]
    ]
    everyone = as_one(adapted, 4)
    assert isinstance(everyone, ModelBatch)
    rows = torch.tensor([0, 1, 2, 5, 6, 12, 13, 14, 15])  # 3 of the first, 2, none, 4
    images = torch.rand(len(rows), *SHAPES[name], generator=stream("rows")).double()
    images.requires_grad_()
    logits = select_rows(everyone, rows)(images)
    (gradient,) = torch.autograd.grad(logits.square().sum(), images)
    for place, row in enumerate(rows.tolist()):
        image = images[place : place + 1].detach().requires_grad_()
        own = adapted[row // 4].model(image)
        (expected,) = torch.autograd.grad(own.square().sum(), image)
        assert torch.allclose(logits[place], own[0], atol=1e-9)
        assert torch.allclose(gradient[place], expected[0], atol=1e-9)


def test_batches_of_one_size_go_together():
    batches = [shown((1, 8, 8), n, "groups") for n in (10, 20, 10, 10, 20)]
    assert alike(batches) == [[0, 2, 3], [1, 4]]


@pytest.mark.parametrize("attack", [PGDLinf(0.05, steps=5), PGDL2(0.4, steps=5)])
def test_attacking_all_at_once_gives_each_models_verdicts(attack):
    _, _, _, adapted = some_models("small_cnn", sizes=(10, 20, 30))
    query = shown((1, 8, 8), 30, "query")
    labels = adapted[0].model(query.images).argmax(dim=1)
    query, rng = Batch(query.images, labels), dealt(labels, "again")
    everyone = as_one(adapted, 30)
    found, again = survives(
        attack, everyone, query.repeat(3), Meter(), type(rng).joined([rng, rng, rng])
    )
    alone = [survives(attack, one.model, query, Meter(), rng)[0] for one in adapted]
    assert torch.equal(found.view(3, 30), torch.stack(alone))
    assert again.target == state_hash(everyone)
    assert 0 < int(found.sum()) < len(found)
    clean = correct(everyone, query.repeat(3))  # known before: not looked at again
    known, _ = survives(
        attack, everyone, query.repeat(3), Meter(), type(rng).joined([rng, rng, rng]), clean
    )
    assert torch.equal(known, found)


def test_the_state_hash_sees_the_stacked_parameters():
    _, _, _, adapted = some_models("small_cnn")
    before = state_hash(as_one(adapted, 2))
    assert before == state_hash(select_rows(as_one(adapted, 2), torch.tensor([1])))
    adapted[2].parameters["network.head.bias"].add_(1)
    assert state_hash(as_one(adapted, 2)) != before


class Branching(nn.Module):
    """No batching rule covers a branch on values: such a network is adapted one by one."""

    def __init__(self):
        super().__init__()
        self.inner = conv_net((1, 8, 8), 10)

    def forward(self, images):
        logits = self.inner(images)
        return logits * (2 if logits.sum().item() > 0 else 1)


def test_a_network_that_branches_on_its_values_works_too():
    model = frozen(Branching())
    shows = [lambda _, n=n: shown((1, 8, 8), n, n) for n in (10, 10)]
    budget = Budget(shots=1, method="finetune", steps=2, lr=0.05)
    adapted = adapt_all(model, budget, shows)
    everyone, images = as_one(adapted, 2), torch.rand(4, 1, 8, 8, generator=stream("i"))
    logits = everyone(images)
    for index, one in enumerate(adapted):
        rows = slice(2 * index, 2 * index + 2)
        assert torch.allclose(logits[rows], one.model(images[rows]), atol=1e-5)


def test_errors_of_the_network_itself_come_through():
    class Failing(Branching):
        def forward(self, images):
            raise RuntimeError("out of order")

    budget = Budget(shots=1, method="finetune", steps=2, lr=0.05)
    with pytest.raises(RuntimeError, match="out of order"):
        adapt_all(frozen(Failing()), budget, [lambda _: shown((1, 8, 8), 10, "x")] * 2)


def test_filling_rows_weigh_nothing():
    batches = [shown((1, 8, 8), n, "fill") for n in (4, 9)]
    model, filled = network("small_cnn"), side_by_side(batches)
    for index, batch in enumerate(batches):
        loss = cross_entropy(model(filled.images[index]), filled.labels[index])
        assert torch.allclose(loss, cross_entropy(model(batch.images), batch.labels), atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_pass_of_a_stack_is_counted(precision):
    _, _, _, adapted = some_models("small_cnn", sizes=(10, 10))
    model, meter = in_precision(as_one(adapted, 3), precision), Meter()
    with metered(model, meter):
        images = torch.rand(2, 1, 8, 8).requires_grad_()
        logits = select_rows(model, torch.tensor([0, 4]))(images)
        torch.autograd.grad(logits.sum(), images)
    assert (meter.forwards, meter.backwards) == (2, 2)


def test_a_stack_is_judged_in_float32():
    _, _, _, adapted = some_models("small_cnn", sizes=(10, 20))
    exact = as_one(adapted, 20)
    quick = in_precision(exact, "bfloat16")
    query = shown((1, 8, 8), 20, "bf16")
    batch = Batch(query.images, adapted[0].model(query.images).argmax(dim=1)).repeat(2)
    found, again = survives(PGDLinf(0.05, steps=5), quick, batch, Meter(), dealt(batch.labels))
    assert again.target == state_hash(exact)
    broken = Batch(again.images, batch.labels[correct(exact, batch)])
    rows = correct(exact, batch).nonzero().flatten()
    still = select_rows(exact, rows)(broken.images).argmax(dim=1) == broken.labels
    assert torch.equal(found[rows], still)
