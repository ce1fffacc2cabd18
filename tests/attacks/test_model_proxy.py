"""The watched proxy: what counts as broken, who is left out, when a run ends."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt, images_for, network
from torch import nn

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from attacks.libraries.adapter import ThirdParty
from attacks.libraries.model_proxy import Ended, WatchedProxy
from benchmark.core.model_access import Composite, Settled
from benchmark.core.types import Batch, NormBall

THREAT = NormBall("linf", 0.1)


class Bright(nn.Module):
    """Class 1 where the mean pixel exceeds 0.5, class 0 elsewhere; counts what it is asked."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def forward(self, images):
        self.asked += len(images)
        margin = images.flatten(1).mean(dim=1) - 0.5
        return torch.stack([-margin, margin], dim=1)


def watched(n=3, saves=True, ends=False):
    images = torch.full((n, 1, 2, 2), 0.45)
    batch = Batch(images, torch.zeros(n, dtype=torch.int64))
    return WatchedProxy(Bright(), batch, THREAT, positive=False, saves=saves, ends=ends), images


@pytest.mark.parametrize(
    ("moved", "counts"), [(0.08, True), (0.02, False), (0.2, False), (float("nan"), False)]
)
def test_a_query_counts_if_it_is_misclassified_inside_the_threat(moved, counts):
    proxy, images = watched()
    query = images.clone()
    query[1] += moved
    if moved == moved:
        proxy(query)
    else:
        proxy.batch.images[1] += 0.04
        query[1, 0, 0, 0] = moved
        proxy(query)
    assert proxy.broken.tolist() == [False, counts, False]
    settled = proxy.settle(images)
    assert torch.equal(settled[1], query[1] if counts else images[1])
    assert torch.equal(settled[[0, 2]], images[[0, 2]])


def test_pixels_outside_the_box_do_not_count():
    proxy, images = watched(n=1)
    proxy.batch.images.fill_(0.98)
    proxy.batch.labels.fill_(0)
    proxy(torch.full_like(images, 1.02))
    assert not proxy.broken.any()
    proxy(torch.full_like(images, 1.0))
    assert proxy.broken.all()


def test_broken_images_are_not_asked_about_again():
    proxy, images = watched(n=3)
    query = images.clone()
    query[1] += 0.08
    broke = proxy(query)[1]
    proxy.held[0].asked = 0
    query = (images + 0.01).requires_grad_()
    logits = proxy(query)
    assert proxy.held[0].asked == 2
    assert torch.equal(logits[1], broke)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), query)
    assert gradient.flatten(1).abs().sum(dim=1).gt(0).tolist() == [True, False, True]
    (expected,) = torch.autograd.grad(Bright()(query)[:, 1].sum(), query)
    assert torch.equal(gradient[[0, 2]], expected[[0, 2]])


def test_for_examples_everything_is_asked_and_the_library_is_believed_first():
    proxy, images = watched(n=3, saves=False)
    query = images.clone()
    query[:2] += 0.06
    proxy(query)
    proxy.held[0].asked = 0
    proxy(images)
    assert proxy.held[0].asked == 3
    proposals = torch.stack([images[0] + 0.09, images[1] + 0.01, images[2] + 0.01])
    settled = proxy.settle(proposals)
    assert torch.equal(settled[0], proposals[0])  # broken by the library too
    assert torch.equal(settled[1], query[1])  # the library's does not break it
    assert torch.equal(settled[2], proposals[2])  # never broken


def test_versions_of_the_batch_one_after_the_other():
    """As SPSA asks: all images, then all again. The first version that breaks an image is kept."""
    proxy, images = watched(n=2)
    query = torch.cat([images, images, images])
    query[2] += 0.06  # image 0, second version
    query[4] += 0.08  # image 0, third version
    proxy(query)
    assert proxy.broken.tolist() == [True, False]
    assert torch.equal(proxy.proofs[0], query[2])
    proxy.held[0].asked = 0
    proxy(torch.cat([images, images]))
    assert proxy.held[0].asked == 2


def test_a_query_of_another_length_is_answered_and_not_watched():
    proxy, images = watched(n=3)
    assert torch.equal(proxy(images[:2] + 0.08), Bright()(images[:2] + 0.08))
    assert not proxy.broken.any()


def test_it_ends_when_nothing_stands():
    proxy, images = watched(n=2, ends=True)
    proxy(images + torch.tensor([0.08, 0.0]).view(2, 1, 1, 1))
    with pytest.raises(Ended):
        proxy(images + torch.tensor([0.0, 0.08]).view(2, 1, 1, 1))
    assert torch.equal(proxy.settle(images), images + 0.08)


def test_low_precision_is_not_believed():
    """The model misclassifies in its own precision, float32 does not: nothing is broken."""

    class Low(Composite):
        judge = Bright()

        def forward(self, images):
            return self.judge(images + 0.1)

    images = torch.full((1, 1, 2, 2), 0.45)
    batch = Batch(images, torch.tensor([0]))
    proxy = WatchedProxy(Low(), batch, THREAT, positive=False, saves=True, ends=True)
    assert proxy(images).argmax() == 1
    assert not proxy.broken.any()


QUICK = {
    "steps": 4, "queries": 30, "samples": 8, "searches": 2, "population": 20, "tries": 10,
    "targets": 3,
}  # fmt: skip
WATCHED = [
    name for name in ATTACKS.names()
    if issubclass(ATTACKS.get(name), ThirdParty) and ATTACKS.get(name).watched
]  # fmt: skip


BY_PLACE = [name for name in WATCHED if ATTACKS.get(name).by_place]


def quick(name):
    """With a budget at which some images break early and some never."""
    kind = ATTACKS.get(name)
    cuts = {**QUICK, "steps": 60} if name == "cw" else QUICK
    options = [f"{key}={value}" for key, value in cuts.items() if hasattr(kind, key)]
    eps = {"linf": 0.03, "l2": 0.15, "l1": 0.6, "l0": 2}[kind.norm]
    return build_attack(f"{name}[{','.join([*options, f'eps={eps}'])}]", strengths_of("digits"))


@pytest.mark.parametrize("name", WATCHED)
def test_both_goals_break_the_same_images_and_what_is_proved_is_broken(name):
    """The draws are the same."""
    attack, model = quick(name), network(3)
    images, labels = images_for(model, 3, n=16)
    broken = []
    for goal in ("examples", "verdict"):
        proposals = attack.perturb(model, images, labels, goal, dealt(images, "goals"))
        inside = attack.threat.inside(images, proposals)
        broken.append(inside & (model(proposals).argmax(dim=1) != labels))
    assert torch.equal(*broken)


class Counted(nn.Module):
    """A network that counts how many images it is asked about."""

    def __init__(self):
        super().__init__()
        self.network, self.asked = network(3), 0

    def forward(self, images):
        self.asked += len(images)
        return self.network(images)


@pytest.mark.parametrize("name", BY_PLACE)
def test_what_is_settled_is_left_alone_and_the_others_meet_what_they_would_have(name):
    """Where random numbers are dealt to places."""
    attack, plain, counted = quick(name), Counted(), Counted()
    images, labels = images_for(plain, 3, n=16)
    plain.asked, settled = 0, torch.arange(16) % 2 == 0
    expected, found = (
        attack.perturb(model, images, labels, "verdict", dealt(images, "places"))
        for model in (plain, Settled(counted, settled))
    )
    assert (counted.asked < plain.asked) == (name != "ffgsm")  # which asks once
    assert torch.equal(found[settled], images[settled])
    broken = [plain(made[~settled]).argmax(dim=1) != labels[~settled] for made in (expected, found)]
    assert torch.equal(*broken)
    assert torch.allclose(found[~settled], expected[~settled], atol=1e-6)


def test_attacks_that_deal_to_places():
    """All that deal at random in a batch, but those that look at who still stands first."""
    assert {"ta_pgd_linf", "jitter", "difgsm", "spsa", "pixle"} <= set(BY_PLACE)
    assert not {"apgd_linf", "apgdt_l2", "square", "square_l2", "onepixel", "cw", "bim"} & set(
        BY_PLACE
    )
