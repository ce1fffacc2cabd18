"""Auto-PGD against its authors' code, and its schedule."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt

from attacks.autoattack.apgd import (
    APGDCrossEntropyL2,
    APGDCrossEntropyLinf,
    APGDTargetedLinf,
    checkpoints,
    climb,
    targeted_margin,
    untargeted,
)
from attacks.autoattack.stage import likeliest_wrong
from attacks.engine.search import Search
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.seeding import stream

theirs = pytest.importorskip("pyautoattack.autopgd_base")
SHAPE = (3, 8, 8)
CASES = {"linf": (APGDCrossEntropyLinf, "Linf", 0.01), "l2": (APGDCrossEntropyL2, "L2", 0.08)}


class Recorder(torch.nn.Module):
    """A model that remembers what it was asked."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, images):
        self.asked.append(images.detach().clone())
        return self.model(images)


def task(n=40):
    model = conv_net(SHAPE, 10).requires_grad_(False)
    return model, some_images(model, SHAPE, n)


def iterates(norm, iterations, loss):
    """What both implementations ask from the same start: (iterations + 1, batch, ...) each."""
    part, their_norm, eps = CASES[norm]
    model, batch = task()
    start = batch.images + 0.02 * eps * torch.randn(batch.images.shape, generator=stream("start"))
    start = start.clamp(batch.images - eps, batch.images + eps)
    ours, reference = Recorder(model), Recorder(model)
    search = Search(ours, batch.images, batch.labels, "examples")
    targets = likeliest_wrong(Search(model, *batch, "examples"), search.everyone(), 1)[:, 0]
    objective = {"ce": untargeted, "dlr-targeted": targeted_margin}[loss]
    climb(search, search.everyone(), start, targets, objective, part(eps, iterations=iterations))
    maker = theirs.APGDAttack if loss == "ce" else theirs.APGDAttack_targeted
    attack = maker(reference, n_iter=iterations, norm=their_norm, eps=eps, device="cpu")
    attack.init_hyperparam(batch.images)
    attack.y_target = targets
    attack.attack_single_run(batch.images, batch.labels, x_init=start)
    return torch.stack(ours.asked), torch.stack(reference.asked)


@pytest.mark.parametrize("loss", ["ce", "dlr-targeted"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_iterates_are_the_authors(norm, loss):
    """20 iterations hold 14 checkpoints. Rounding can flip a close comparison: on few images."""
    ours, reference = iterates(norm, 20, loss)
    assert ours.shape == reference.shape
    away = (ours - reference).abs().flatten(2).amax(dim=2)
    assert (away[:4] < 1e-5).all(), "before the first checkpoint"
    assert ((away < 1e-5).all(dim=0)).float().mean() > 0.8
    assert (ours[-1] - ours[0]).abs().amax() > 1e-3, "it moved"


@pytest.mark.parametrize("iterations", [1, 3, 10, 20, 50, 100, 333])
def test_the_checkpoints_are_the_authors(iterations):
    """By running their loop of counters."""
    k = max(int(0.22 * iterations), 1)
    smallest, decrease = max(int(0.06 * iterations), 1), max(int(0.03 * iterations), 1)
    counter, found = 0, []
    for made in range(1, iterations + 1):
        counter += 1
        if counter == k:
            found.append(made)
            counter, k = 0, max(k - decrease, smallest)
    assert checkpoints(iterations) == found


def test_the_targeted_margin_is_the_published_one():
    logits = torch.randn(200, 10, generator=stream("logits"))
    labels, targets = torch.randint(10, (2, 200), generator=stream("classes"))
    attack = theirs.APGDAttack_targeted(None, eps=0.1)
    attack.y_target = targets
    found = targeted_margin(targets, logits, labels)
    assert torch.allclose(found, attack.dlr_loss_targeted(logits, labels), atol=1e-6)
    assert torch.allclose(found, targeted_margin(targets, 100 * logits + 3, labels), atol=1e-4)


@pytest.mark.parametrize(("classes", "count"), [(4, 3), (10, 9), (20, 9)])
def test_targets_are_the_likeliest_wrong_classes_in_order(classes, count):
    model = conv_net(SHAPE, classes)
    batch = some_images(model, SHAPE, 20, wrong=3)
    search = Search(model, *batch, "verdict")
    found = likeliest_wrong(search, search.everyone(), 9)
    order = model(batch.images).argsort(dim=1, descending=True)
    assert found.shape == (20, count)
    assert torch.equal(found[:17], order[:17, 1 : count + 1])
    assert not (found == batch.labels[:, None]).any(), "wrong from the start, and yet not a target"


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_starts_are_on_the_edge_of_the_ball(norm):
    part, _, eps = CASES[norm]
    images = torch.full((50, *SHAPE), 0.5)
    delta = (part(eps).start(images, dealt(images, "start")) - images).flatten(1)
    size = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert size == pytest.approx(eps, rel=1e-4)
    assert abs(float(delta.mean())) < eps / 20


def test_an_image_one_target_breaks_is_not_attacked_with_the_next():
    model, batch = task()
    recorder = Recorder(model)
    APGDTargetedLinf(0.5, iterations=1, targets=9).perturb(
        recorder, *batch, "examples", dealt(batch.labels, "targets")
    )
    sizes = [len(images) for images in recorder.asked[2:]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 5 < 40 == sizes[0]
