"""Attacks that choose numbers: the known optimum of a linear model, bounds, both goals, chance."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear

from attacks.engine.rendered import Rendered, Rendering, total_variation
from benchmark.core.errors import UsageError


@dataclass(frozen=True)
class Shifts(Rendering):
    """Each quarter of an image made brighter or darker by at most `size`."""

    size: float
    norm: str = "corruption"

    def chosen(self, shape):
        return (2, 2)

    def make(self, images, chosen, drawn):
        height, width = images.shape[2] // 2, images.shape[3] // 2
        moves = chosen.repeat_interleave(height, 1).repeat_interleave(width, 2)
        return images + self.size * moves[:, None]

    def __str__(self):
        return f"shifts {self.size:g}"


@dataclass(frozen=True)
class Shifting(Rendered):
    name: ClassVar[str] = "shifting"
    family: ClassVar[str] = "corruption"
    norm: ClassVar[str] = "corruption"
    size: float = 0.1

    @property
    def threat(self):
        return Shifts(self.size)


@dataclass(frozen=True)
class Drifting(Shifting):
    """The attacker chooses nothing that matters: chance draws the size."""

    @property
    def threat(self):
        return Drift(self.size)


class Drift(Shifts):
    def drawn(self, shape):
        return (1,)

    def make(self, images, chosen, drawn):
        return images + self.size * drawn.view(-1, 1, 1, 1) + 0 * chosen.sum()


def task():
    batch = images(24) * 0.6 + 0.2
    model = linear((1, 8, 8), 2)
    return model, batch, model(batch).argmax(dim=1)


def test_on_a_linear_model_every_number_ends_at_its_best_edge():
    model, batch, labels = task()
    found = Shifting(size=0.1).perturb(model, batch, labels, "examples", dealt(labels, 0))
    slope = model[1].weight[1 - labels] - model[1].weight[labels]
    quarters = slope.view(-1, 2, 4, 2, 4).sum(dim=(2, 4)).sign()
    best = Shifts(0.1).make(batch, quarters, batch.new_zeros(len(batch), 0))
    assert torch.allclose(found, best, atol=1e-6)


def test_a_verdict_breaks_the_same_images():
    model, batch, labels = task()
    attack = Shifting(size=0.1)
    broken = [
        model(attack.perturb(model, batch, labels, goal, dealt(labels, 0))).argmax(dim=1) != labels
        for goal in ("examples", "verdict")
    ]
    assert torch.equal(*broken)
    assert 0 < broken[0].sum() < len(batch)


def test_numbers_stay_within_their_bounds_however_long_the_steps():
    model, batch, labels = task()
    attack = Shifting(size=0.1, step_size=9.0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert (found - batch).abs().max() <= 0.1 + 1e-6


def test_restarts_draw_anew_and_an_image_meets_the_same_in_any_batch():
    model, batch, labels = task()
    attack = Drifting(size=0.1, steps=1, restarts=5)
    rng = dealt(labels, 0)
    alone = attack.perturb(model, batch[3:5], labels[3:5], "examples", rng.take(slice(3, 5)))
    among = attack.perturb(model, batch, labels, "examples", rng)
    assert torch.equal(alone, among[3:5])
    once = Drifting(size=0.1, steps=1).perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert not torch.equal(once, among)


def test_an_empty_batch_comes_back():
    model, batch, labels = task()
    nothing = Shifting().perturb(model, batch[:0], labels[:0], "examples", dealt(labels[:0], 0))
    assert nothing.shape == batch[:0].shape


@pytest.mark.parametrize("option", [{"steps": 0}, {"restarts": 0}, {"size": -1.0}])
def test_what_would_attack_nothing_is_refused(option):
    with pytest.raises(UsageError):
        Shifting(**option)


def test_total_variation_is_the_length_of_all_steps_to_neighbours():
    board = (torch.arange(3)[:, None] + torch.arange(5)).remainder(2).float()
    field = torch.stack([3 * board, 4 * board])[None].repeat(2, 1, 1, 1)
    pairs = 3 * 4 + 2 * 5
    assert torch.allclose(total_variation(field), torch.full((2,), 5.0 * pairs), rtol=1e-4)
    assert total_variation(field.new_ones(1, 1, 1, 1, 4)) < 1e-3
    flat = torch.zeros(1, 2, 3, 5, requires_grad=True)
    total_variation(flat).sum().backward()
    assert (flat.grad == 0).all()


@dataclass(frozen=True)
class Kept(Shifting):
    """Held back so much that a quarter moves only where the loss is steep."""

    def penalty(self, chosen):
        return 0.8 * chosen.abs().flatten(1).sum(dim=1)


def test_a_penalty_holds_back_numbers_alike_however_confident_the_model():
    model, batch, labels = task()
    sure = linear((1, 8, 8), 2)
    sure[1].weight.mul_(4)
    free, kept, kept_too = (
        attack.perturb(network, batch, labels, "examples", dealt(labels, 0))
        for attack, network in ((Shifting(), model), (Kept(), model), (Kept(), sure))
    )
    assert torch.allclose(kept, kept_too, atol=1e-5)
    assert (kept - batch).abs().mean() < 0.9 * (free - batch).abs().mean()
