"""Parameters that stand in for a model's own are still there when it computes on the way back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from benchmark.adaptation.adapt import distances, task_gradients, with_parameters
from benchmark.core.model_batch import ModelBatch, owner_of, stack
from benchmark.core.types import Batch


class Twin(nn.Module):
    """The control: nothing is computed twice."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, images):
        return self.head(self.middle(images))

    def middle(self, images):
        return self.body(images)


class Checkpointed(Twin):
    def middle(self, images):
        return checkpoint(self.body, images, use_reentrant=False)


class Recomputed(torch.autograd.Function):
    """Keeps the inputs alone, as reversible networks do."""

    @staticmethod
    def forward(ctx, body, inputs, *_parameters):
        ctx.body = body
        ctx.save_for_backward(inputs)
        return body(inputs)

    @staticmethod
    def backward(ctx, gradient):
        inputs = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            asked = [inputs, *ctx.body.parameters()]
            found = ctx.body(inputs)
            asked = [one if one.requires_grad else None for one in asked]
            slopes = iter(torch.autograd.grad(found, [a for a in asked if a is not None], gradient))
        return None, *(next(slopes) if one is not None else None for one in asked)


class Reversible(Twin):
    def middle(self, images):
        return Recomputed.apply(self.body, images, *self.body.parameters())


MEMBERS = [Checkpointed, Reversible]


def drawn(kind, count):
    """A frozen model, and other parameters, far from its own."""
    model = kind().eval().requires_grad_(False)
    many = [{name: torch.randn(one.shape) for name, one in model.named_parameters()}
            for _ in range(count)]  # fmt: skip
    return model, many


def batch(rows):
    return Batch(torch.rand(rows, 1, 2, 2), torch.arange(rows) % 3)


def slope(model, shown):
    images = shown.images.clone().requires_grad_()
    loss = cross_entropy(model(images), shown.labels, reduction="sum")
    return torch.autograd.grad(loss, images)[0]


@pytest.mark.parametrize("kind", MEMBERS)
def test_gradients_at_the_parameters_are_those_of_the_twin(kind):
    (model, (one,)), shown = drawn(kind, 1), batch(5)
    twin = Twin().eval()
    expected = task_gradients(twin, one, shown, first_order=True)
    found = task_gradients(model, one, shown, first_order=True)
    for name in one:
        assert torch.allclose(found[name], expected[name], atol=1e-6), name


@pytest.mark.parametrize("kind", MEMBERS)
def test_gradients_at_the_images_are_those_of_each_model_alone(kind):
    (model, many), shown = drawn(kind, 2), batch(8)
    stacked = ModelBatch(model, stack(many), torch.tensor([0] * 4 + [1] * 4))
    found = slope(stacked, shown)
    for index, rows in enumerate((torch.arange(4), torch.arange(4, 8))):
        alone = slope(with_parameters(model, many[index]), shown.take(rows))
        assert torch.allclose(found[rows], alone, atol=1e-6)
        taken = slope(stacked.take(rows), shown.take(rows))
        assert torch.allclose(taken, alone, atol=1e-6)


@pytest.mark.parametrize("kind", MEMBERS)
def test_the_fault_would_show(kind):
    """The control: by a plain functional_call the way back meets the model's own parameters."""
    (model, (one,)), shown = drawn(kind, 1), batch(5)
    wrong = slope(lambda images: functional_call(model, one, (images,)), shown)
    assert not torch.allclose(wrong, slope(with_parameters(model, one), shown), atol=1e-3)


def test_an_owner_holds_the_parameters_themselves():
    model, (one,) = drawn(Twin, 1)
    model.register_buffer("table", torch.ones(3))
    owner = owner_of(model, {"head.bias": one["head.bias"]})
    assert owner.head.bias.data_ptr() == one["head.bias"].data_ptr()
    assert owner.head.weight is model.head.weight and owner.table is model.table
    assert owner.head is not model.head


def test_how_far_scalars_and_complex_numbers_moved():
    start = {"scale": torch.zeros(2), "filter": torch.zeros(2, 1, dtype=torch.cfloat)}
    moved = {"scale": torch.tensor([2.0, 0.0]), "filter": torch.tensor([[3j], [3 + 4j]])}
    assert distances(start, moved).tolist() == pytest.approx([math.sqrt(13), 5.0])
