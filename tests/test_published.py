"""Networks and data as published: the figures that others printed must come out."""

import os
from pathlib import Path

import pytest
import torch

from baselines.networks import build_network
from baselines.weights import fit_weights, load_weights
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.data import join
from benchmark.datasets import load

pytestmark = pytest.mark.data


def folder(variable):
    if not os.environ.get(variable):
        pytest.skip(f"{variable} names no folder")
    return Path(os.environ[variable])


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist", "cifar10"])
def dataset(request):
    return load(request.param, folder("REATTACK_DATA"), False, 0)


PIXELS = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}
"""Mean and standard deviation over the training images, as everybody normalises them."""


def test_pixels_and_labels_are_the_published_ones(dataset):
    published = join([dataset.train, dataset.validation])
    assert dataset.validation.labels.bincount().tolist() == [500] * 10
    assert len(set(torch.cat([published.ids, dataset.test.ids]).tolist())) == len(published) + 10000
    if dataset.name == "mnist":
        expected = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
        assert dataset.test.labels.bincount().tolist() == expected
    else:
        assert dataset.test.labels.bincount().tolist() == [1000] * 10
    if dataset.name in PIXELS:
        raw = published.raw.float().div_(255)
        assert (float(raw.mean()), float(raw.std())) == pytest.approx(
            PIXELS[dataset.name], abs=5e-5
        )


def test_fashion_mnist_is_not_mistaken_for_mnist():
    directory = folder("REATTACK_DATA") / "FashionMNIST" / "raw"
    with pytest.raises(UsageError, match="not the published file"):
        load("mnist", directory, False, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "network", "name", "published"),
    [
        ("mnist_lenet5_advtrained.pt", "lenet5", "mnist", 98.64),
        ("mnist_lenet5_clntrained.pt", "lenet5", "mnist", 98.89),
        ("cifar10_resnet2b_adv.pth", "resnet2b", "cifar10", 69.25),
        ("cifar10_resnet4b_adv.pth", "resnet4b", "cifar10", 77.20),
        ("cifar10_resnet20_standard.th", "resnet20", "cifar10", 91.73),
    ],
)
@torch.no_grad()
def test_clean_accuracy_is_the_published_one(file, network, name, published):
    weights = load_weights(folder("REATTACK_CHECKPOINTS") / file)
    test = load(name, folder("REATTACK_DATA"), False, 0).test
    model = build_network(network, test.shape, 10, stream(0)).eval()
    fit_weights(model, weights)
    correct = 0
    for indices in torch.arange(len(test)).split(250):
        images, labels = test.batch(indices)
        correct += int((model(images).argmax(dim=1) == labels).sum())
    assert 100 * correct / len(test) == pytest.approx(published, abs=0.005)
