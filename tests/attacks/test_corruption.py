"""Corruptions that are optimised: SciPy, NumPy and Pillow's tables; size 0, bounds, both goals."""

import io

import numpy as np
import pytest
import scipy.fft
import scipy.ndimage
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from matplotlib.path import Path
from PIL import Image
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, by_rule
from attacks.corruption.digital import GlitchScene, JPEGScene, PixelScene
from attacks.corruption.fields import convolved, moved, octaves, plasma, smeared
from attacks.corruption.jpeg import blocks, coefficients, pixels, steps
from attacks.corruption.texture import BROWN, GaborScene, KaleidoscopeScene, WoodScene
from attacks.corruption.weather import FogScene, SnowScene
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream

NAMES = ["fog", "snow", "gabor", "wood", "kaleidoscope", "jpeg", "pixel", "glitch"]
SCENES = [FogScene, SnowScene, GaborScene, WoodScene, KaleidoscopeScene, JPEGScene, PixelScene,
          GlitchScene]  # fmt: skip
SHAPES = [(1, 8, 8), (3, 32, 32), (3, 9, 13)]


def numbers(*shape):
    return torch.rand(shape, generator=stream("numbers", *shape))


def made(scene, batch, chosen=None):
    """What a scene makes of numbers drawn uniformly, unless those chosen are given."""
    shape, n = tuple(batch.shape[1:]), len(batch)
    if chosen is None:
        chosen = 2 * numbers(n, *scene.chosen(shape)) - 1
    return scene.make(batch, chosen, numbers(n, *scene.drawn(shape)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", SCENES)
def test_size_0_changes_nothing_and_any_other_something(kind, shape):
    batch = images(3, *shape)
    assert torch.allclose(made(kind(0.0, "size"), batch), batch, atol=1e-6)
    assert ((made(kind(0.3, "size"), batch) - batch).abs().amax(dim=(1, 2, 3)) > 0.01).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_search_beats_chance_and_a_verdict_breaks_the_same(name):
    shape = (3, 12, 12)
    batch, model = images(24, *shape) * 0.8 + 0.1, linear(shape, 2)
    labels = model(batch).argmax(dim=1)
    attack = build_attack(name, by_rule(shape))
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    verdict = attack.perturb(model, batch, labels, "verdict", dealt(labels, 0))
    first = build_attack(f"{name}[step_size=1e-9]", by_rule(shape))
    drawn = first.perturb(model, batch, labels, "examples", dealt(labels, 0))

    def loss(some):
        return cross_entropy(model(some), labels, reduction="none")

    assert (loss(found) > loss(drawn) + 1e-4).float().mean() > 0.9
    broken = model(found).argmax(dim=1) != labels
    assert torch.equal(model(verdict).argmax(dim=1) != labels, broken)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_sizes_above_1_and_no_steps_are_refused(name):
    (size,) = type(build_attack(name, by_rule((1, 8, 8)))).low_and_high
    for option in (f"{size}=1.1", f"{size}=-0.1", "steps=0"):
        with pytest.raises(UsageError):
            build_attack(f"{name}[{option}]", by_rule((1, 8, 8)))


# Fields.


def test_plasma_is_lattices_laid_upon_each_other():
    height, width, decay = 9, 14, 3.0
    sides = octaves(height, width)
    assert sides == [2, 3, 5, 9, 17]
    draws = 2 * numbers(2, sum(side * side for side in sides)) - 1
    expected, place, weights = np.zeros((2, height, width)), 0, 0.0
    for level, side in enumerate(sides):
        rows, columns = (np.linspace(0, side - 1, size) for size in (height, width))
        grid = np.meshgrid(rows, columns, indexing="ij")
        for image in range(2):
            lattice = draws[image, place : place + side * side].view(side, side).double().numpy()
            fine = scipy.ndimage.map_coordinates(lattice, grid, order=1)
            expected[image] += decay**-level * fine
        place, weights = place + side * side, weights + decay**-level
    found = plasma(draws, height, width, decay)
    assert np.allclose(found[:, 0].numpy(), expected / weights, atol=1e-5)
    assert torch.allclose(plasma(torch.ones_like(draws), height, width, decay), torch.ones(1))


def test_kernels_are_laid_round_the_edges():
    points, kernel = numbers(2, 7, 10), numbers(7, 10)
    expected = [
        sum(
            value * np.roll(kernel.numpy(), place, (0, 1))
            for place, value in np.ndenumerate(one.numpy())
        )
        for one in points
    ]
    assert np.allclose(convolved(points, kernel).numpy(), expected, atol=1e-4)


def test_whole_pixels_are_moved_and_the_edge_goes_on():
    batch = images(2, 3, 9, 12)
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (2, 0), (0, 1)), mode="edge")
    assert np.allclose(moved(batch, 2, -1).numpy(), padded[:, :, :9, 1:], atol=1e-5)


def test_smearing_is_a_half_gaussian_along_the_way():
    batch, sigma = images(2, 1, 8, 12), 1.5
    weights = np.exp(-0.5 * (np.arange(6) / sigma) ** 2)
    kernel = np.concatenate([np.zeros(5), weights / weights.sum()])
    for angle, axis in ((0.0, 3), (np.pi / 2, 2)):
        expected = scipy.ndimage.convolve1d(batch.numpy(), kernel, axis=axis, mode="nearest")
        found = smeared(batch, torch.full((2,), angle), sigma)
        assert np.allclose(found.numpy(), expected, atol=1e-5)


# Weather.


def test_fog_whitens_by_up_to_its_haze():
    batch = images(2, 3, 16, 16)
    count = FogScene(0.4, "haze").chosen((3, 16, 16))
    for sign, share in ((1, 0.4), (-1, 0.0), (0, 0.2)):
        found = made(FogScene(0.4, "haze"), batch, sign * torch.ones(2, *count))
        assert torch.allclose(found, batch + share * (1 - batch), atol=1e-5)


def test_snow_only_brightens_and_falls_as_chosen():
    batch, scene = torch.zeros(4, 3, 32, 32), SnowScene(0.7, "flakes")
    chosen = -torch.ones(4, *scene.chosen((3, 32, 32)))
    assert made(scene, batch, chosen).abs().max() < 1e-5, "no flake has any brightness"
    chosen[:, :, 1:] = 1
    slopes = []
    for angle in (-1.0, 1.0):  # 45 degrees to either side of the vertical
        chosen[:, :, 0] = angle
        found = made(scene, batch, chosen)
        assert found.max() == pytest.approx(0.7) and found.min() >= -1e-6
        assert torch.equal(found[:, 0], found[:, 2]), "snow is white"
        same, other = (
            (found * found.roll((1, side), (2, 3))).sum() for side in (1, -1)
        )  # neighbours on the two diagonals
        slopes.append(float(same - other))
    assert slopes[0] * slopes[1] < 0
    assert min(map(abs, slopes)) > 50


# Textures.


def test_gabor_noise_stays_in_its_ball_and_has_the_wavelength_drawn():
    batch, scene = torch.full((1, 1, 64, 64), 0.5), GaborScene(0.2, "ripple")
    drawn = torch.ones(1, 1, 2 + 64 * 64)
    drawn[0, 0, 2 + 32 * 64 + 32] = 0  # one wave, at the centre
    drawn[0, 0, :2] = torch.tensor([0.5, 0.2])  # straight down, 2 * (3 + 5 * 0.2) pixels
    noise = scene.make(batch, torch.ones(1, 1, 64, 64), drawn)[0, 0] - 0.5
    place = np.arange(64) - 32
    down, right = np.meshgrid(place, place, indexing="ij")
    wave = np.exp(-0.5 * (down**2 + right**2) / 25) * np.cos(2 * np.pi * down / 8)
    assert np.allclose(noise.numpy(), 0.2 * np.tanh(wave), atol=1e-5)
    strong = made(scene, images(2, 3, 32, 32)) - images(2, 3, 32, 32)
    assert 0.19 < strong.abs().max() <= 0.2 + 1e-6


def test_wood_has_rings_about_its_heart():
    scene, side = WoodScene(1.0, "grain"), 32
    chosen = torch.zeros(1, *scene.chosen((3, side, side)))
    drawn = torch.tensor([[0.5, 0.5, 1.0]])  # heart on pixel (16, 16), 6 rings to a side
    rings = scene.make(torch.zeros(1, 3, side, side), chosen, drawn)[0]
    place = (np.arange(side) - 16) / side
    radius = np.hypot(place[:, None], place)
    expected = 0.5 + 0.5 * np.sin(2 * np.pi * 6 * radius)
    for channel, brown in zip(rings, BROWN, strict=True):
        assert np.allclose(channel.numpy(), brown * expected, atol=1e-4)
    bent = scene.make(torch.zeros(1, 3, side, side), chosen + 0.5, drawn)[0, 0]
    assert np.allclose(bent.numpy(), BROWN[0] * (1 - expected), atol=1e-4), "half a ring on"


def test_polygons_are_where_matplotlib_draws_them():
    scene, side = KaleidoscopeScene(1.0, "glass"), 40
    centres = (np.indices((side, side)).reshape(2, -1).T[:, ::-1] + 0.5) / side
    for corners in (3, 4, 5, 6):
        drawn = torch.zeros(1, *scene.drawn((1, side, side)))
        drawn[0, :, :2], drawn[0, :, 2] = 5.0, 0.0  # far outside, but for one
        drawn[0, 0] = torch.tensor([0.45, 0.55, 0.9, 0.3, (corners - 3 + 0.5) / 4])
        found = scene.make(torch.zeros(1, 1, side, side), torch.ones(1, 16, 2, 1), drawn)
        apothem = 0.1 + 0.15 * 0.9
        turns = 2 * np.pi * (np.arange(corners) / corners - 0.3)
        ring = np.stack([np.cos(turns), np.sin(turns)], 1) * apothem / np.cos(np.pi / corners)
        expected = Path(np.array([0.55, 0.45]) + ring).contains_points(centres)
        differ = (found.flatten().bool().numpy() != expected).sum()
        assert differ <= 4, "pixels whose centre is on an edge"
        assert expected.sum() > 250


def test_polygons_wear_their_own_colours():
    scene, batch = KaleidoscopeScene(1.0, "glass"), torch.full((1, 1, 48, 48), 0.5)
    chosen = torch.ones(1, 16, 2, 1)
    chosen[:, :, 1] = -1
    assert made(scene, batch, chosen).unique().tolist() == [0, 0.5, 1], "edge, ground, inside"


# Files and wires.


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 16, 24), (3, 16, 16)])
def test_scipy_transforms_blocks_alike(shape):
    batch = images(2, *shape)
    found = coefficients(batch).numpy()
    assert found.shape[1:] == blocks(shape)
    luma = batch.numpy()[:, 0]
    if shape[0] == 3:
        luma = np.einsum("c,nchw->nhw", [0.299, 0.587, 0.114], batch.numpy())
    for row in range(shape[1] // 8):
        for column in range(shape[2] // 8):
            block = luma[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            expected = scipy.fft.dctn(block, axes=(1, 2), norm="ortho")
            assert np.allclose(found[:, 0, row, column], expected, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_decoding_undoes_encoding(shape):
    batch = images(2, *shape)
    assert torch.allclose(pixels(coefficients(batch), *shape[1:]), batch, atol=1e-5)


@pytest.mark.parametrize("quality", [20, 50, 80, 100])
def test_pillow_quantises_alike(quality):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization
    found = (255 * steps(3, quality)).round().int().view(3, 8, 8)
    assert [one.flatten().tolist() for one in found] == [list(tables[at]) for at in (0, 1, 1)]


def test_a_jpeg_coefficient_moves_by_its_share_of_a_step():
    batch, scene = images(2, 3, 16, 16), JPEGScene(0.4, "quanta")
    chosen = 2 * numbers(2, *scene.chosen((3, 16, 16))) - 1
    moves = coefficients(made(scene, batch, chosen)) - coefficients(batch)
    assert torch.allclose(moves, 0.4 * steps(3, 50).float() * chosen, atol=1e-5)


def test_blocks_become_their_means():
    batch, scene = images(1, 1, 19, 35), PixelScene(1.0, "mosaic")
    assert scene.chosen((1, 19, 35)) == (10, 18)
    chosen = torch.full((1, 10, 18), -1.0)
    chosen[0, 2, 3], chosen[0, 9, 17], chosen[0, 0, 0] = 1, 1, 0
    expected = batch.clone()
    expected[..., 4:6, 6:8] = batch[..., 4:6, 6:8].mean()
    expected[..., 0:2, 0:2] = (batch[..., 0:2, 0:2] + batch[..., 0:2, 0:2].mean()) / 2
    assert torch.allclose(made(scene, batch, chosen), expected, atol=1e-6)


def test_strips_slip_round_the_edges():
    batch, scene = images(2, 3, 16, 20), GlitchScene(0.25, "slip")
    chosen = torch.zeros(2, *scene.chosen((3, 16, 20)))
    assert chosen.shape == (2, 3, 4)
    chosen[0, 1, 2], chosen[1, 0, 3], chosen[1, 2, 0] = 1, -0.4, 0.1
    expected = batch.clone()
    expected[0, 1, 8:12] = batch[0, 1, 8:12].roll(5, 1)
    expected[1, 0, 12:16] = batch[1, 0, 12:16].roll(-2, 1)
    expected[1, 2, 0:4] = (batch[1, 2, 0:4] + batch[1, 2, 0:4].roll(1, 1)) / 2
    assert torch.allclose(made(scene, batch, chosen), expected, atol=1e-6)


def test_jpeg_refuses_two_channels():
    for name in ("jpeg", "digital_c"):
        attack = build_attack(name, by_rule((2, 8, 8)))
        assert "2" in attack.cannot_run((2, 8, 8), 10)
        assert attack.cannot_run((1, 8, 8), 10) is None
