"""Attacks from torchattacks against mathematics, and the library's defects we work around."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import broken_by, dealt, images_for, linear_task, network
from torch import nn

from attacks.build import build_attack, strengths_of
from attacks.libraries.adapter import unattacked_where_undefined
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, distance


def on_digits(spec: str) -> Attack:
    return build_attack(spec, strengths_of("digits"))


# Enough steps to find what a linear model has to give; the others are tested for never beating it.
REACH = {
    "linf": ["ta_fgsm", "ta_pgd_linf[steps=20]", "bim[steps=20]", "rfgsm[steps=20]",
             "eotpgd[steps=20]", "mifgsm[steps=20]", "nifgsm", "vmifgsm[step_size=0.05]",
             "vnifgsm[step_size=0.05]", "upgd[steps=20,loss=ce]", "sinifgsm",
             "apgd_linf[steps=30]", "fab_linf[steps=20]"],
    "l2": ["ta_pgd_l2[steps=40]", "apgd_l2[steps=30]", "fab_l2[steps=20]", "deepfool"],
}  # fmt: skip
NEVER = {
    "linf": ["ffgsm", "tpgd", "jitter", "difgsm", "square[queries=100]", "spsa[samples=8]"],
    "l2": ["cw", "square_l2[queries=100]"],
}


@pytest.mark.parametrize(
    ("norm", "spec"), [(norm, spec) for norm, specs in REACH.items() for spec in specs]
)
def test_gradient_attacks_reach_the_closed_form_on_a_linear_model(norm, spec):
    task = linear_task(norm)
    broken = broken_by(spec, task)
    assert not (broken & ~task.breakable).any(), "no attack can beat the closed form"
    # DeepFool and FAB overshoot by 2 and 5 per cent: one image of 40 is that near the boundary
    assert (broken != task.breakable).sum() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_targeted_apgd_reaches_the_closed_form(norm):
    """With 4 classes, two of them hopeless: the targeted DLR loss needs the fourth logit."""
    task = linear_task(norm, classes=4)
    assert torch.equal(broken_by(f"apgdt_{norm}[steps=30]", task), task.breakable)


@pytest.mark.parametrize(
    ("norm", "spec"), [(norm, spec) for norm, specs in NEVER.items() for spec in specs]
)
def test_no_attack_beats_the_closed_form(norm, spec):
    task = linear_task(norm)
    assert not (broken_by(spec, task) & ~task.breakable).any()


@pytest.mark.parametrize(
    ("spec", "limit"), [("onepixel[steps=2]", 3), ("pixle[tries=4]", 3), ("jsma", 2)]
)
def test_sparse_attacks_count_pixels(spec, limit):
    """eps is a number of pixels; JSMA moves them in pairs, so 3 pixels are one pair."""
    model = network(1)
    images, labels = images_for(model, 1)
    perturbed = on_digits(spec).perturb(model, images, labels, "examples", dealt(images, "sparse"))
    moved = distance(images, perturbed, "l0")
    assert 1 <= moved.max() <= limit


@pytest.mark.parametrize(("eps", "pixels"), [(2, 2), (3, 2), (4, 4)])
def test_jsma_in_vain_spends_the_pairs_of_pixels_it_may(eps, pixels):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    with torch.no_grad():
        model[1].bias[0] = 1000.0
    images, labels = images_for(model, 1)
    attack = on_digits(f"jsma[eps={eps}]")
    perturbed = attack.perturb(model, images, labels, "examples", dealt(images, "vain"))
    assert distance(images, perturbed, "l0").max() == pixels


def test_jsma_aims_at_the_likeliest_wrong_class_whatever_the_number_of_classes():
    """The library's own target, (label + 1) % 10, does not exist here: with 3 classes it fails."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3, bias=False)).eval()
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight[1, :2], model[1].weight[0, :2], model[1].weight[2, 2:] = 5.0, -5.0, 0.1
    images = torch.full((1, 1, 8, 8), 0.5)
    images[..., 0, :2] = 0.0
    labels = model(images).argmax(dim=1)
    perturbed = on_digits("jsma").perturb(model, images, labels, "examples", dealt(images, "jsma"))
    assert labels.tolist() == [2]
    assert model(perturbed).argmax(dim=1).tolist() == [1]


@pytest.mark.parametrize(
    "spec", ["cw[steps=20]", "eaden[steps=10,searches=2]", "eadl1[steps=10,searches=2]"]
)
def test_margin_losses_survive_negative_logits(spec):
    """torchattacks issue 184: `f` takes a maximum with 0, so negative logits hide the margin."""

    class Shifted(nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.net, self.by = network(1), by

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.net(images) + self.by

    images, labels = images_for(network(1), 1, n=6)
    attack = on_digits(spec)
    high, low = (
        attack.perturb(Shifted(by).eval(), images, labels, "examples", dealt(images, "shift"))
        for by in (0.0, -64.0)
    )
    assert (high != images).flatten(1).any(dim=1).any()
    assert (high - low).abs().max() < 1e-3


def test_an_image_without_gradient_comes_back_unattacked_and_alone():
    """Momentum attacks divide 0 by 0 there; the other images of the batch must not suffer."""
    model = network(1)
    images, labels = images_for(model, 1)

    class Blind(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            factor = torch.ones(len(batch), 1)
            factor[0] = 0
            return model(batch) * factor

    perturbed = on_digits("mifgsm[steps=5]").perturb(
        Blind(), images, labels, "examples", dealt(images, "blind")
    )
    assert torch.equal(perturbed[0], images[0])
    assert (perturbed[1:] != images[1:]).flatten(1).any(dim=1).all()


def test_not_finite_proposals_are_replaced_one_by_one():
    images = torch.rand(3, 1, 2, 2, generator=stream("x"))
    proposals = images + 0.1
    proposals[1, 0, 0, 0] = torch.nan
    kept = unattacked_where_undefined(proposals, images)
    assert torch.equal(kept[[0, 2]], proposals[[0, 2]])
    assert torch.equal(kept[1], images[1])


def test_a_model_that_breaks_down_is_an_error_not_robustness():
    class Fragile(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = images.flatten(1)[:, :10]
            return torch.where(logits.sum(dim=1, keepdim=True) > 5.0, torch.nan, logits)

    images = torch.full((2, 1, 8, 8), 0.49)
    with pytest.raises(AuditError, match="logits are not finite for 2 attacked images"):
        on_digits("bim[eps=0.3,steps=5]").perturb(
            Fragile(), images, torch.tensor([0, 0]), "verdict", Streams.named(2, "nan")
        )


def test_passes_are_what_the_network_sees():
    """Forward and backward passes of an image that stays correct, counted by hooks."""
    model, images, labels, _ = linear_task("linf", classes=4)
    images, labels, seen = images[-1:], labels[-1:], []

    def count(_module: nn.Module, _inputs: object, logits: torch.Tensor) -> None:
        seen.append(len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: seen.append(len(gradient)))

    model.register_forward_hook(count)
    for spec in ("ta_fgsm", "bim", "vmifgsm", "apgd_linf", "tpgd", "square[queries=50]", "spsa"):
        seen.clear()
        attack = build_attack(spec, {"linf": {"eps": 0.01}})
        attack.perturb(model, images, labels, "verdict", dealt(images, "count"))
        assert abs(sum(seen) - attack.passes) <= 3, spec
