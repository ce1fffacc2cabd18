"""Common corruptions: SciPy, NumPy, Pillow and colorsys; moments; the worst of a group."""

import colorsys
import io

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from PIL import Image
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, by_rule
from attacks.corruption import common_blur, common_digital, common_noise, common_weather
from benchmark.core.errors import UsageError

NAMES = ["noise_c", "blur_c", "weather_c", "digital_c"]


class Fixed:
    """Streams of which every number is the same."""

    def __init__(self, value, count):
        self.value, self.count = value, count

    def uniform(self, shape=()):
        return torch.full((self.count, *shape), self.value)

    def normal(self, shape=()):
        return self.uniform(shape)


def flat(value, n=1, shape=(3, 64, 64)):
    return torch.full((n, *shape), value)


# Noise.


@pytest.mark.parametrize(("severity", "size"), [(1, 0.04), (5, 0.1)])
def test_gaussian_noise_is_normal_of_its_size(severity, size):
    noise = common_noise.gaussian_noise(flat(0.5), severity, dealt([0], 0)) - 0.5
    assert scipy.stats.kstest(noise.flatten().numpy() / size, "norm").pvalue > 0.01


@pytest.mark.parametrize("mean", [0.2, 1.0, 5.0, 50.0])
def test_shot_noise_counts_as_poisson_does(mean):
    found = common_noise.shot_noise(flat(mean / 50), 5, dealt([0], 0)) * 50
    counts = found.flatten().round().numpy()
    assert np.allclose(found.flatten(), counts, atol=1e-3)
    values = np.arange(counts.max() + 1)
    shares = np.array([(counts <= value).mean() for value in values])
    assert np.abs(shares - scipy.stats.poisson.cdf(values, mean)).max() < 0.035
    assert common_noise.shot_noise(flat(0.0), 5, dealt([0], 0)).max() == 0


def test_impulses_are_black_or_white_and_as_many_as_said():
    found = common_noise.impulse_noise(flat(0.5), 5, dealt([0], 0))
    shares = [float((found == value).float().mean()) for value in (0, 0.5, 1)]
    assert shares == pytest.approx([0.035, 0.93, 0.035], abs=0.006)


def test_speckles_grow_with_the_brightness():
    dark, light = (common_noise.speckle_noise(flat(at), 3, dealt([0], 0)) for at in (0.2, 0.8))
    assert torch.allclose(light, 4 * dark, atol=1e-5)
    assert float(dark.std()) == pytest.approx(0.2 * 0.12, rel=0.05)


# Blur.


def test_defocus_is_a_disk_and_grows_with_the_image():
    batch = images(1, 1, 128, 128)
    reach = np.arange(-4, 5)
    disk = (reach[:, None] ** 2 + reach**2 <= 16).astype(float)
    blurred = scipy.ndimage.convolve(batch[0, 0].numpy(), disk / disk.sum(), mode="nearest")
    expected = scipy.ndimage.gaussian_filter(blurred, 0.8, mode="nearest", radius=3)
    found = common_blur.defocus_blur(batch, 4, dealt([0], 0))
    assert np.allclose(found[0, 0].numpy(), expected, atol=1e-4)


def test_zoom_blur_is_the_mean_of_enlargements():
    batch, severity = images(1, 1, 32, 32), 2
    place = (np.arange(32) - 15.5)[:, None]
    expected = [batch[0, 0].numpy()]
    for zoom in np.arange(100, 111) / 100:
        grid = np.broadcast_arrays(place / zoom + 15.5, place.T / zoom + 15.5)
        expected.append(scipy.ndimage.map_coordinates(batch[0, 0].numpy(), grid, order=1))
    found = common_blur.zoom_blur(batch, severity, dealt([0], 0))
    assert np.allclose(found[0, 0].numpy(), np.mean(expected, axis=0), atol=1e-4)


def test_motion_is_within_45_degrees_of_the_horizontal():
    point = torch.zeros(40, 1, 31, 31)
    point[:, :, 15, 15] = 1
    found = common_blur.motion_blur(point, 5, dealt(range(40), 0))[:, 0]
    place = torch.arange(31.0) - 15
    right, down = (found * place).sum((1, 2)), (found * place[:, None]).sum((1, 2))
    angles = torch.atan2(down, right).rad2deg()
    assert angles.abs().max() <= 46
    assert angles.min() < -30 and angles.max() > 30


# Weather.


def test_brightness_is_the_value_of_hsv():
    batch = images(1, 3, 6, 6)
    batch[0, :, 0, 0] = 0
    found = common_weather.brightness(batch, 4, dealt([0], 0)).flatten(2)[0].T.tolist()
    for (red, green, blue), new in zip(batch.flatten(2)[0].T.tolist(), found, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        assert new == pytest.approx(
            colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2)), abs=1e-5
        )


def test_fog_is_a_field_from_0_to_1_and_keeps_the_brightest():
    batch = images(2, 3, 32, 32)
    found = common_weather.fog(batch, 4, dealt(range(2), 0))
    peak = batch.amax((1, 2, 3), keepdim=True)
    field = found * (peak + 1) / peak - batch
    for channel in field[:, 1:].unbind(1):
        assert torch.allclose(channel, field[:, 0], atol=1e-5)
    assert field.amin((1, 2, 3)).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert field.amax((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert not torch.allclose(field[0], field[1], atol=0.1)


def test_snow_lies_on_top_and_less_of_it_lies_on_less():
    batch = images(8, 3, 32, 32) * 0.3
    calm, storm = (common_weather.snow(batch, level, dealt(range(8), 0)) for level in (1, 5))
    assert (calm >= batch - 1e-6).all()
    assert 0.02 < (calm - batch).mean() < (storm - batch).mean()
    same = common_weather.snow(batch, 2, Fixed(0.5, 8))  # 0.1 + 0.2 * 0.5 is below the threshold
    luma = torch.einsum("c,nchw->nhw", torch.tensor([0.299, 0.587, 0.114]), batch)[:, None]
    assert torch.allclose(same, 0.9 * batch + 0.1 * torch.maximum(batch, 1.5 * luma + 0.5))


# Digital.


def test_contrast_keeps_the_mean_of_each_channel():
    batch = images(2, 3, 8, 8)
    found = common_digital.contrast(batch, 5, dealt(range(2), 0))
    assert torch.allclose(found.mean((2, 3)), batch.mean((2, 3)), atol=1e-6)
    assert torch.allclose(found.std((2, 3)), 0.15 * batch.std((2, 3)), atol=1e-6)


def test_elastic_moves_by_what_is_drawn():
    batch = images(2, 1, 25, 25)
    assert torch.allclose(common_digital.elastic(batch, 5, Fixed(0.5, 2)), batch, atol=1e-4)
    found = common_digital.elastic(batch, 1, Fixed(1.0, 2))  # all places by 0.08 * 25 pixels
    assert torch.allclose(found[..., :23, :23], batch[..., 2:, 2:], atol=1e-4)
    bent = common_digital.elastic(batch, 2, Fixed(0.75, 2))  # by 0.5 * (0.07 + 0.05) * 25 pixels
    expected = (batch[..., 1:-1, 1:-1] + batch[..., 2:, 1:-1]) / 2
    expected = (expected + (batch[..., 1:-1, 2:] + batch[..., 2:, 2:]) / 2) / 2
    assert torch.allclose(bent[..., :23, :23], expected, atol=1e-4)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_pillow_makes_the_same_coarse_pixels(severity):
    batch = (images(1, 1, 32, 32) * 255).round()
    coarse = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    image = Image.fromarray(batch[0, 0].numpy())
    box = Image.Resampling.BOX
    expected = np.asarray(image.resize((coarse, coarse), box).resize((32, 32), box))
    found = common_digital.pixelate(batch, severity, dealt([0], 0))[0, 0].numpy()
    assert (np.abs(found - expected) > 1e-3).mean() < 0.02


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("severity", [1, 5])
def test_pillow_writes_the_same_jpeg_file(channels, severity):
    smooth = torch.nn.functional.avg_pool2d(images(1, channels, 40, 48), 5, 1)
    batch = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).round() / 255
    array = (batch[0] * 255).byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    picture = Image.fromarray(array if channels == 3 else array[..., 0])
    picture.save(file, "JPEG", quality={1: 80, 5: 40}[severity], subsampling=0)
    expected = np.asarray(Image.open(file)).reshape(array.shape) / 255
    wrong, other = (
        np.abs(
            common_digital.jpeg_compression(batch, level, dealt([0], 0))[0]
            .clamp(0, 1).permute(1, 2, 0).numpy() - expected
        ).mean()
        for level in (severity, 3)
    )  # fmt: skip
    assert wrong < 0.25 * np.abs(array / 255 - expected).mean(), "its colours are whole numbers"
    assert wrong < 0.4 * other, "another quality is another file"


# The worst of a group.


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_back_is_the_worst_of_all_kinds_and_severities(name):
    shape = (3, 12, 12)
    batch, model = images(30, *shape), linear(shape, 3)
    model[1].bias -= model(batch).mean(dim=0)  # near to being undecided
    labels = model(batch).argmax(dim=1)
    attack = build_attack(f"{name}[severity=3]", by_rule(shape))
    rng, made = dealt(labels, 0), [batch]
    for severity in (3, 2, 1):
        made += [kind(batch, severity, rng).clamp(0, 1) for kind in attack.kinds]
    assert len(made) == attack.passes
    logits = torch.stack([model(one) for one in made])
    wrong = logits.argmax(dim=2) != labels
    losses = torch.stack([cross_entropy(one, labels, reduction="none") for one in logits])
    worst = torch.where(wrong | ~wrong.any(dim=0), losses, -torch.inf).amax(dim=0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert torch.allclose(cross_entropy(model(found), labels, reduction="none"), worst, atol=1e-4)
    verdict = attack.perturb(model, batch, labels, "verdict", dealt(labels, 0))
    assert torch.equal(model(verdict).argmax(dim=1) != labels, wrong.any(dim=0))
    assert 0 < wrong.any(dim=0).sum() < len(batch)


@pytest.mark.parametrize("name", NAMES)
def test_there_are_five_severities(name):
    for severity in (0, 6):
        with pytest.raises(UsageError):
            build_attack(f"{name}[severity={severity}]", {})


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_moves_images_further(name):
    batch = images(16, 3, 32, 32) * 0.6 + 0.2
    batch = torch.nn.functional.avg_pool2d(batch, 5, 1, 2)
    for kind in build_attack(f"{name}[severity=1]", {}).kinds:
        if kind is common_digital.elastic:
            continue  # its five trade a large tilt for fine waves
        moved = [
            float((kind(batch, level, dealt(range(16), 0)) - batch).abs().mean())
            for level in (1, 5)
        ]
        assert 0 < moved[0] < 0.9 * moved[1], kind.__name__
