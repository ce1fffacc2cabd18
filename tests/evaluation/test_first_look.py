"""What is said of a model that was trained elsewhere before anything is planned for it."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from baselines.networks.weights import fit_weights, load_weights
from baselines.networks.zoo import build_network
from benchmark.artifacts.first_look import USUAL, first_look
from benchmark.core.seeding import stream
from benchmark.core.types import Split
from benchmark.data.load import load
from benchmark.data.splits import Dataset
from benchmark.evaluation.verdicts import frozen

CASES = {
    "resnet20": ("cifar10_resnet20_standard.th", "cifar10"),
    "lenet5": ("mnist_lenet5_clntrained.pt", "mnist"),  # trained without any normalisation
}


@pytest.fixture(scope="module")
def published(data_dir, checkpoints_dir):
    """A network somebody else trained, and its data."""

    def read(name):
        file, dataset = CASES[name]
        data = load(dataset, data_dir, False, 0)
        network = build_network(name, data.shape, 10, stream(0))
        fit_weights(network, load_weights(checkpoints_dir / file))
        return frozen(network), data

    return read


@pytest.mark.data
@pytest.mark.parametrize("name", CASES)
def test_a_sound_network_is_not_talked_about(published, name):
    model, data = published(name)
    begin = time.perf_counter()
    assert first_look(model, data, "cpu") == []
    assert time.perf_counter() - begin < 10, "about a second on two quiet cores"


@pytest.mark.data
def test_the_normalisation_that_is_missing_is_named(published, monkeypatch):
    monkeypatch.setattr("benchmark.artifacts.first_look.SECONDS", {32: 60, 224: 60})
    model, data = published("resnet20")
    (line,) = first_look(model.network, data, "cpu")
    assert "behind ImageNet's" in line and str(list(USUAL["ImageNet's"][0])) in line


@pytest.mark.data
def test_red_and_blue_the_wrong_way_round_are_seen(published):
    model, data = published("resnet20")

    class Swapped(nn.Module):
        def forward(self, images):
            return model(images.flip(1))

    found = first_look(Swapped(), data, "cpu")
    assert found == [] or "BGR" in found[0]  # named where it costs ten points


def digits(transform):
    data = load("digits", None, False, 0)
    train = data.train
    images = transform(train.images()).flatten(1)
    squared = torch.cat([images, images**2, torch.ones(len(images), 1)], 1)
    solved = torch.linalg.lstsq(squared, nn.functional.one_hot(train.labels).float()).solution

    class Quadratic(nn.Module):
        def forward(self, shown):
            flat = shown.flatten(1)
            return torch.cat([flat, flat**2, torch.ones(len(flat), 1)], 1) @ solved

    return Quadratic(), data


def test_a_model_trained_on_bytes_is_told_so():
    model, data = digits(lambda images: images * 255)
    (line,) = first_look(model, data, "cpu")
    assert "to [0, 255]" in line and "nn.Sequential(torchvision.transforms.Normalize(" in line


def test_the_line_that_mends_it_does():
    import torchvision

    model, data = digits(lambda images: (images - 0.5) / 0.5)
    (line,) = first_look(model, data, "cpu")
    mended = eval(line.rpartition("put it inside: ")[2], {"nn": nn, "torchvision": torchvision,
                                                          "model": model})  # fmt: skip
    batch = data.test.batch()
    accuracy = (mended(batch.images).argmax(1) == batch.labels).float().mean()
    assert accuracy > 0.85 and first_look(mended, data, "cpu") == []


def test_a_model_that_minds_other_values_is_no_worse_for_it():
    model, data = digits(lambda images: images.round())  # not good enough to be left alone

    class Minds(nn.Module):
        def forward(self, images):
            assert 0 <= images.min() <= images.max() <= 1
            return model(images)

    assert first_look(Minds(), data, "cpu") == []


def test_what_knows_nothing_is_near_chance():
    data = load("digits", None, False, 0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    nn.init.zeros_(model[1].weight)
    (line,) = first_look(model, data, "cpu")
    assert "near chance" in line and "commonest class) is 1" in line


class Constant(nn.Module):
    """Answers class 0 of images in [0, 1], class 1 of brighter ones: knows nothing of either."""

    def forward(self, images):
        bright = (images.amax(dim=(1, 2, 3)) > 2).float()
        return torch.stack([1 - bright, bright], dim=1)


def test_answering_the_commonest_class_is_no_normalisation():
    labels = (torch.arange(200) % 4 > 0).long()  # three quarters are of class 1
    split = Split(torch.rand(200, 1, 8, 8, generator=stream(0)), labels, torch.arange(200))
    data = Dataset("uneven", 2, split, split, split, "", 0)
    (line,) = first_look(Constant(), data, "cpu")
    assert "near chance: 25%" in line and "commonest class) is 75%" in line


def test_large_images_are_looked_at_for_seconds():
    images = torch.randint(0, 256, (60, 3, 224, 224), dtype=torch.uint8, generator=stream("large"))
    data = load("digits", None, False, 0)
    split = data.validation.first(60)
    large = type(split)(images, split.labels, split.ids)
    model = frozen(build_network("torchvision:resnet18", (3, 224, 224), 10, stream(0)))
    begin = time.perf_counter()
    first_look(model, Dataset("large", 10, large, large, large, "", 0), "cpu")
    assert time.perf_counter() - begin < 30, "about five seconds on two quiet cores"


def test_a_run_says_it_and_refuses_what_cannot_be_evaluated(tmp_path, run):
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def Zero():\n"
        "    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    nn.init.zeros_(model[1].weight)\n"
        "    return model\n"
        "Many = nn.Sequential(nn.Flatten(), nn.Linear(64, 1000))\n"
        "Large = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n"
    )
    said = run(defense=f"{file}:Zero")
    assert "mine.py:Zero: its accuracy is near chance" in said.err
    assert "loaded mine.py:Zero" in said.err and "trained mine.py" not in said.err
    many = run(defense=f"{file}:Many")
    assert many.code == 2 and "a logit for each of 10 classes, got 1000" in many.err
    large = run(defense=f"{file}:Large")
    assert large.code == 2 and "cannot take images of shape (1, 8, 8)" in large.err
