"""Frequencies: SciPy's DCT, exact projections, the optimum of a linear model by linear programs."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from finite_sets import check_search, check_set, images, linear
from scipy.fft import dctn, idctn
from scipy.optimize import linprog

from attacks.engine.dct import basis, kept, lowest
from attacks.frequency import LEAK, Band, Cutoff, LowPass, PGDHighFrequency, PGDLowFrequency
from benchmark.core.errors import UsageError
from benchmark.core.types import distance

SIZES = [(8, 8), (6, 11)]
BANDS = [
    PGDLowFrequency(0.1, steps=10, low=0.5),
    PGDHighFrequency(0.1, steps=10, high=0.25),
]
SET = LowPass(0.375, steps=3)


@pytest.mark.parametrize("size", [1, 2, 8, 11, 32])
def test_the_basis_is_a_rotation(size):
    assert torch.allclose(basis(size) @ basis(size).T, torch.eye(size).double(), atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_scipy_has_the_same_coefficients_of_the_same_energy(size):
    image = images(1, 1, *size)[0, 0].double()
    coefficients = basis(size[0]) @ image @ basis(size[1]).T
    assert np.allclose(coefficients.numpy(), dctn(image.numpy(), norm="ortho"))
    assert float(coefficients.square().sum()) == pytest.approx(float(image.square().sum()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("down", "right"), [(0.5, 0.5), (0.25, 1), (0, 0.7), (1, 1)])
def test_scipy_cuts_off_alike(size, down, right):
    batch = images(2, 3, *size)
    coefficients = dctn(batch.double().numpy(), axes=(2, 3), norm="ortho")
    coefficients[:, :, kept(size[0], down) :] = 0
    coefficients[:, :, :, kept(size[1], right) :] = 0
    expected = idctn(coefficients, axes=(2, 3), norm="ortho")
    assert np.allclose(lowest(batch, down, right).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("above", [False, True])
def test_a_band_is_projected_onto_exactly(above):
    threat, delta = Band(0.1, 0.5, above), images(3, 3, 6, 11).double() - 0.5
    part = threat.part(delta)
    assert torch.allclose(threat.part(part), part, atol=1e-12)
    rest = delta - part
    assert torch.allclose((rest * part).flatten(1).sum(dim=1), torch.zeros(3).double(), atol=1e-12)
    other = Band(0.1, 0.5, not above)
    assert torch.allclose(part + other.part(delta), delta, atol=1e-12)


def test_a_plain_image_has_no_detail_to_lose():
    plain = torch.tensor([0.0, 0.3, 1.0]).view(3, 1, 1, 1).expand(3, 2, 6, 11)
    for cutoff in SET.threat.grid():
        assert torch.allclose(SET.threat.make(plain, cutoff), plain, atol=1e-6)


def test_the_mean_of_an_image_is_its_lowest_frequency():
    batch = images(2, 3, 6, 11)
    made = LowPass(0.0).threat.make(batch, Cutoff(0, 0))
    assert torch.allclose(made, batch.mean(dim=(2, 3), keepdim=True).expand_as(batch), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 13, 16)])
def test_the_set_of_cutoffs_is_what_it_says(shape):
    check_set(SET, images(3, *shape))


def test_the_whole_set_is_searched():
    check_search(LowPass(0.5, steps=2), images(40))


def test_less_detail_than_allowed_is_outside():
    batch = images(3)
    assert not LowPass(0.5, 4).threat.inside(batch, SET.threat.make(batch, Cutoff(0.375, 1))).any()


def pattern(above, size):
    """A perturbation of exactly that linf size in the lower or upper half, two directions."""
    delta = Band(1, 0.5, above).part(images(3, 3, 6, 11).double() - 0.5)
    return size * delta / delta.flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1)


@pytest.mark.parametrize("above", [False, True])
def test_inside_is_the_ball_and_the_band(above):
    threat, grey = Band(0.1, 0.5, above), images(3, 3, 6, 11) * 0.4 + 0.3
    own, other = pattern(above, 0.1), pattern(not above, 0.1)
    assert threat.inside(grey, grey).all()
    assert threat.inside(grey, (grey + own).float()).all()
    assert not threat.inside(grey, (grey + 1.001 * own).float()).any()
    assert not threat.inside(grey, (grey + other).float()).any()
    edited = (grey + own).float()
    edited[1, :, 2:4, 2:5] = grey[1, :, 2:4, 2:5] + 0.1
    assert threat.inside(grey, edited).tolist() == [True, False, True]
    assert threat.inside(grey[:0], grey[:0]).shape == (0,)


@pytest.mark.parametrize("above", [False, True])
def test_a_leak_is_forgiven_up_to_its_share(above):
    threat, grey = Band(1, 0.5, above), images(3, 3, 6, 11).double() * 0.4 + 0.3
    own, other = pattern(above, 0.1), pattern(not above, 0.1)
    sizes = [one.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for one in (own, other)]
    for share, allowed in ((0.99 * LEAK, True), (1.01 * LEAK, False)):
        leak = other / sizes[1] * sizes[0] * (share / (1 - share)) ** 0.5
        assert (threat.inside(grey, grey + own + leak) == allowed).all()


@pytest.mark.parametrize("attack", BANDS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 11)])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_perturbations_stay_in_the_band(attack, shape, count):
    """A tenth of the pixels are black or white: there the cut takes half of a pattern away."""
    batch = (images(count, *shape) * 1.1 - 0.05).clamp(0, 1)
    model = linear(shape)
    labels = model(batch).argmax(dim=1)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert found.shape == batch.shape
    assert attack.threat.inside(batch, found).all()
    assert not count or (found != batch).flatten(1).any(dim=1).all()
    assert (distance(batch, found, "linf") <= attack.eps + 1e-6).all()


def test_an_image_without_room_is_given_back():
    """On a chessboard every smooth pattern would be cut, and leak."""
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float().view(1, 1, 8, 8)
    labels = torch.zeros(1, dtype=torch.int64)
    found = BANDS[0].perturb(linear((1, 8, 8)), board, labels, "examples", dealt(labels, 0))
    assert torch.equal(found, board)


@pytest.mark.parametrize("attack", BANDS, ids=lambda attack: attack.name)
def test_both_goals_break_the_same_images(attack):
    batch, model = images(40), linear((1, 8, 8))
    labels = model(batch).argmax(dim=1)
    broken = []
    for goal in ("examples", "verdict"):
        found = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        broken.append((model(found).argmax(dim=1) != labels).tolist())
    assert broken[0] == broken[1]
    assert 0 < sum(broken[0]) < 40


def furthest(weights, image, threat):
    """The most weights.d can be with d exactly in the band, in the ball, image + d in [0, 1].

    A linear program over the numbers d, float64.
    """
    unit = torch.eye(64).double().view(64, 1, 8, 8)
    outside = (unit - threat.part(unit)).view(64, 64).numpy()
    low = np.maximum(-threat.eps, -image.flatten().numpy())
    high = np.minimum(threat.eps, 1 - image.flatten().numpy())
    bounds = np.stack([low, high], axis=1)
    solved = linprog(-weights, A_eq=outside, b_eq=np.zeros(64), bounds=bounds)
    return -solved.fun


@pytest.mark.parametrize(("black", "share"), [(False, 0.9), (True, 0.6)])
@pytest.mark.parametrize("above", [False, True])
def test_it_comes_near_the_optimum_of_a_linear_model(above, black, share):
    """With much black in an image the band leaves little room, and projections find less of it."""
    attack = PGDHighFrequency(0.1, high=0.5) if above else PGDLowFrequency(0.1, low=0.5)
    model, batch = linear((1, 8, 8), classes=2), images(6)
    batch = (batch * 1.5 - 0.5).clamp(0, 1) if black else batch * 0.6 + 0.2
    labels = model(batch).argmax(dim=1)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    for image, label, moved in zip(batch.double(), labels, found.double(), strict=True):
        weights = (model[1].weight[1 - label] - model[1].weight[label]).double().numpy()
        reached = float(weights @ (moved - image).flatten().numpy())
        best = furthest(weights, image, attack.threat)
        assert share * best <= reached <= 1.1 * best


@pytest.mark.parametrize(
    "make",
    [
        lambda: LowPass(1.5),
        lambda: LowPass(-0.5),
        lambda: LowPass(0.5, steps=0),
        lambda: PGDLowFrequency(-0.1, low=0.5),
        lambda: PGDLowFrequency(0.1, low=1.5),
        lambda: PGDLowFrequency(0.1, low=0.5, steps=0),
        lambda: PGDHighFrequency(0.1, high=1.0),
        lambda: PGDHighFrequency(0.1, high=0.5, restarts=0),
    ],
)
def test_what_would_attack_nothing_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()
