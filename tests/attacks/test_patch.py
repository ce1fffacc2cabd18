"""Patches and frames: the threats by hand, the known optimum of a linear model, bounds, goals."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt, images_for, network
from finite_sets import images, linear
from torch import nn

from attacks.build import build_attack, by_rule, strengths_of
from attacks.patch.adversarial import AdversarialPatch
from attacks.patch.frame import Frame
from attacks.patch.occlusion import Occlusion
from attacks.patch.random_search import PatchRS
from attacks.patch.squares import AnySquare, cut_out, paint, within
from benchmark.core.errors import UsageError
from benchmark.evaluation.verdicts import Meter, metered

SIDE = 3
ATTACKS = [
    AdversarialPatch(SIDE, stride=2, places=4),
    PatchRS(SIDE, queries=150),
    Frame(width=1),
]
NAMES = [attack.name for attack in ATTACKS]


def task(channels=2, height=8, width=9, count=24):
    """Two classes, so that the loss rises with the margin lost, and pixels away from the edges."""
    batch = images(count, channels, height, width) * 0.6 + 0.2
    model = linear((channels, height, width), 2)
    return model, batch, model(batch).argmax(dim=1)


def gains(model, batch, labels):
    """How much of the margin each pixel can take at best, NumPy (n, height, width)."""
    weight = model[1].weight
    slope = (weight[1 - labels] - weight[labels]).view_as(batch).double().numpy()
    pixels = batch.double().numpy()
    return np.maximum(slope * (1 - pixels), -slope * pixels).sum(axis=1)


def best_square(gain, side):
    """The most that a square of an image can take, and where it stands: all places are tried."""
    height, width = gain.shape
    return max(
        (gain[top : top + side, left : left + side].sum(), top, left)
        for top in range(height - side + 1)
        for left in range(width - side + 1)
    )


def lost(model, batch, found, labels):
    """By how much the margin fell, (n,)."""
    fall = model(batch) - model(found)
    rows = torch.arange(len(batch))
    return (fall[rows, labels] - fall[rows, 1 - labels]).numpy()


def run(attack, model, batch, labels, goal="examples"):
    return attack.perturb(model, batch, labels, goal, dealt(labels, 0))


# The threats


def test_a_texture_is_painted_where_slices_put_it_and_cut_out_again():
    batch, textures = images(3, 2, 6, 7), images(3, 2, 2, 2)
    corners = torch.tensor([[0, 0], [4, 5], [1, 3]])
    painted, expected = paint(batch, textures, corners), batch.clone().numpy()
    for one, texture, (top, left) in zip(expected, textures, corners.tolist(), strict=True):
        one[:, top : top + 2, left : left + 2] = texture
    assert np.array_equal(painted.numpy(), expected)
    assert torch.equal(cut_out(painted, 2, corners), textures)
    outside = torch.tensor([[-1, 3], [5, 9], [2, 2]])
    assert within(outside, batch, 2).tolist() == [[0, 3], [4, 5], [2, 2]]


@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        ([], True),
        ([(0, 2, 5)], True),
        ([(0, 2, 5), (1, 4, 7)], True),
        ([(0, 2, 5), (1, 5, 5)], False),
        ([(0, 2, 5), (1, 2, 8)], False),
        ([(0, 0, 0), (0, 7, 8)], False),
    ],
)
def test_changes_have_to_fit_one_square_of_all_channels(changed, allowed):
    batch = images(2, 2, 8, 9)
    moved = batch.clone() + 5e-7
    for channel, row, column in changed:
        moved[1, channel, row, column] += 1e-3
    assert AnySquare(3).inside(batch, moved).tolist() == [True, allowed]


def test_nothing_inside_the_frame_may_change():
    batch, threat = images(3, 2, 8, 9), Frame(width=2).threat
    moved = batch.clone()
    moved[:, :, :2], moved[:, :, -2:], moved[:, :, :, :2], moved[:, :, :, -2:] = 0, 1, 0, 1
    assert threat.inside(batch, moved).all()
    moved[0, 1, 2, 2] += 1e-3
    moved[2, 0, 5, 6] -= 1e-3
    assert threat.inside(batch, moved).tolist() == [False, True, False]


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_proposals_stay_in_the_threat_and_the_box(attack):
    model = network(3)
    batch, labels = images_for(model, 3, 8)
    found = run(attack, model, batch, labels)
    assert attack.threat.inside(batch, found).all()
    assert found.min() >= 0 and found.max() <= 1
    assert (found != batch).flatten(1).any(dim=1).all()


# The optimum of a linear model


def test_the_frame_is_the_best_one():
    model, batch, labels = task()
    gain = gains(model, batch, labels)
    gain[:, 1:-1, 1:-1] = 0
    found = run(Frame(width=1), model, batch, labels)
    assert np.allclose(lost(model, batch, found, labels), gain.sum(axis=(1, 2)), atol=1e-5)


def test_the_patch_is_the_best_one_where_it_stands_and_nearly_the_best_of_all():
    model, batch, labels = task()
    attack = AdversarialPatch(SIDE, stride=1, places=7, restarts=8)
    found = run(attack, model, batch, labels)
    reached, shares = lost(model, batch, found, labels), []
    for gain, moved, fall in zip(gains(model, batch, labels), found != batch, reached, strict=True):
        rows, columns = moved.any(dim=0).nonzero().unbind(dim=1)
        top, left = int(rows.min()), int(columns.min())
        here = gain[top : top + SIDE, left : left + SIDE].sum()
        shares.append(fall / best_square(gain, SIDE)[0])
        assert fall == pytest.approx(here, abs=1e-5)
    assert max(shares) <= 1 + 1e-6
    assert np.mean(shares) > 0.9


def test_a_patch_as_large_as_the_image_is_the_best_one():
    model, batch, labels = task(height=8, width=8)
    found = run(AdversarialPatch(8, places=1), model, batch, labels)
    best = gains(model, batch, labels).sum(axis=(1, 2))
    assert np.allclose(lost(model, batch, found, labels), best, atol=1e-5)


def test_random_search_finds_the_best_texture_and_never_more_than_the_best_square():
    model, batch, labels = task(channels=1, height=8, width=8)
    gain = gains(model, batch, labels)
    whole = lost(model, batch, run(PatchRS(8, queries=1000), model, batch, labels), labels)
    assert np.allclose(whole, gain.sum(axis=(1, 2)), atol=1e-5)
    part = lost(model, batch, run(PatchRS(SIDE, queries=500), model, batch, labels), labels)
    shares = part / [best_square(one, SIDE)[0] for one in gain]
    assert max(shares) <= 1 + 1e-6
    assert np.mean(shares) > 0.7, "places are only tried now and then"


def test_the_patch_leaves_the_grid_for_a_better_place():
    """The class depends on one square, of which each place of the grid covers one pixel."""
    model, batch, labels = task(channels=1, height=8, width=8)
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].weight.view(2, 8, 8)[:, 3:5, 3:5] = torch.tensor([1.0, -1.0])[:, None, None]
    found = run(AdversarialPatch(2, stride=2, places=4), model, batch, labels)
    gain, reached = gains(model, batch, labels), lost(model, batch, found, labels)
    assert (reached > gain.max(axis=(1, 2)) + 1e-5).all()
    assert (reached > gain.sum(axis=(1, 2)) - 1e-5).mean() > 0.5


# How the searches go


def test_nothing_stands_that_occlusion_breaks_at_the_same_places():
    model = network(1)
    batch, labels = images_for(model, 1, 40)
    cover, patch = (make(2, stride=2, places=4) for make in (Occlusion, AdversarialPatch))
    broken = [
        model(run(attack, model, batch, labels)).argmax(dim=1) != labels
        for attack in (cover, patch)
    ]
    assert 0 < broken[0].sum() < broken[1].sum()
    assert not (broken[0] & ~broken[1]).any()


def test_random_search_needs_no_gradient_and_paints_corners_of_the_cube():
    model, batch, labels = task()
    steps = nn.Sequential(model, nn.Hardtanh(-9, 9))
    steps.forward = lambda asked: model(asked.detach()).mul(4).round()
    found = run(PatchRS(SIDE, queries=200), steps, batch, labels)
    moved = found[found != batch]
    assert ((moved == 0) | (moved == 1)).all()
    assert (lost(model, batch, found, labels) > 0).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_a_verdict_breaks_the_same_images(attack):
    model = network(1)
    batch, labels = images_for(model, 1, 40)
    broken = [
        model(run(attack, model, batch, labels, goal)).argmax(dim=1) != labels
        for goal in ("examples", "verdict")
    ]
    assert torch.equal(*broken)
    assert broken[0].sum() > 0


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_image_costs_what_is_said(attack):
    model, batch, labels = task(height=8, width=8, count=2)
    meter = Meter()
    with metered(model, meter):
        run(attack, model, batch, labels)
    assert meter.forwards + meter.backwards == 2 * attack.passes


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_empty_batch_comes_back(attack):
    model, batch, labels = task()
    assert run(attack, model, batch[:0], labels[:0]).shape == batch[:0].shape


# Options


@pytest.mark.parametrize(
    "make",
    [
        lambda: AdversarialPatch(0),
        lambda: AdversarialPatch(2, steps=0),
        lambda: AdversarialPatch(2, places=0),
        lambda: PatchRS(2, queries=0),
        lambda: Frame(width=0),
    ],
)
def test_what_would_attack_nothing_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (AdversarialPatch(9), "does not fit"),
        (AdversarialPatch(2, places=3), "do not reach"),
        (PatchRS(9), "does not fit"),
        (Frame(width=4), "leaves nothing"),
    ],
)
def test_what_makes_no_sense_cannot_run(attack, reason):
    assert reason in attack.cannot_run((1, 8, 10), 10)
    assert Frame(width=4).cannot_run((1, 9, 10), 10) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 24, 17), (3, 224, 160)])
def test_the_rule_gives_strengths_for_every_size(name, shape):
    attack = build_attack(name, by_rule(shape))
    assert attack.cannot_run(shape, 2) is None


def test_a_listed_width_is_about_a_sixteenth():
    widths = {name: strengths_of(name)["patch"]["width"] for name in ("digits", "mnist", "cifar10")}
    assert widths == {"digits": 1, "mnist": 1, "cifar10": 2}
