"""Networks and data as published: the figures that others printed must come out."""

from functools import cache
from typing import NamedTuple

import pytest
import torch

from attacks.build import build_attack
from baselines.networks.weights import fit_weights, load_weights
from baselines.networks.zoo import build_network
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.data.load import load
from benchmark.data.splits import join
from benchmark.evaluation.verdicts import Meter, correct, frozen, survives
from reports.statistics.intervals import wilson

pytestmark = pytest.mark.data


@pytest.fixture(scope="module", params=["mnist", "fashion_mnist", "cifar10"])
def dataset(request, data_dir):
    return load(request.param, data_dir, False, 0)


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


def test_fashion_mnist_is_not_mistaken_for_mnist(data_dir):
    with pytest.raises(UsageError, match="not the published file"):
        load("mnist", data_dir / "FashionMNIST" / "raw", False, 0)


class Published(NamedTuple):
    """A network somebody else trained, and what they print about it, in per cent."""

    file: str
    network: str
    dataset: str
    clean: float
    eps: float
    attack: str
    """The attack behind `robust`, in our words."""
    robust: float

    def __str__(self):
        return self.file


# advertorch 0.1.5: 40 steps of 0.01 without a random start; its 6.8% success counts every image.
LENET5 = Published(
    "mnist_lenet5_advtrained.pt",
    "lenet5",
    "mnist",
    98.64,
    0.3,
    "bim[steps=40,step_size=0.01]",
    93.2,
)
# VNN-COMP 2021, whose code climbs the margins of logits; cross-entropy leaves two points more.
RESNET2B = Published(
    "cifar10_resnet2b_adv.pth", "resnet2b", "cifar10", 69.25, 2 / 255, "pgd_linf_dlr", 54.82
)
RESNET4B = Published(
    "cifar10_resnet4b_adv.pth", "resnet4b", "cifar10", 77.20, 2 / 255, "pgd_linf_dlr", 61.41
)
RESNET2B_CERTIFIED = 26.88
"""No attack inside the ball can leave less, in per cent."""
DEFENDED = [LENET5, RESNET2B, RESNET4B]
UNDEFENDED = [
    Published("mnist_lenet5_clntrained.pt", "lenet5", "mnist", 98.89, 0.3, "pgd_linf", 0),
    Published("cifar10_resnet20_standard.th", "resnet20", "cifar10", 91.73, 8 / 255, "pgd_linf", 0),
]


@pytest.fixture(scope="module")
def published(data_dir, checkpoints_dir):
    """The network and the test images of a published case, each read once."""

    @cache
    def test_images(name):
        return load(name, data_dir, False, 0).test

    @cache
    def model_of(case):
        network = build_network(case.network, test_images(case.dataset).shape, 10, stream(0))
        fit_weights(network, load_weights(checkpoints_dir / case.file))
        return frozen(network)

    return lambda case: (model_of(case), test_images(case.dataset))


@pytest.fixture(scope="module")
def attacked(published):
    """Which of the first n test images stay correct under an attack, bool (n,)."""

    @cache
    def verdicts(case, attack, n):
        model, test = published(case)
        built = build_attack(attack, {"linf": {"eps": case.eps}})
        rng = Streams.named(n, "published")
        return survives(built, model, test.first(n).batch(), Meter(), rng)[0]

    return verdicts


def sampled(verdicts):
    """Between which accuracies that on all images lies, in per cent (Wilson, 95%)."""
    low, high = wilson(int(verdicts.sum()), len(verdicts))
    return 100 * low, 100 * high


@pytest.mark.slow
@pytest.mark.parametrize("case", [*DEFENDED, *UNDEFENDED], ids=str)
def test_clean_accuracy_is_the_published_one(case, published):
    model, test = published(case)
    pieces = torch.arange(len(test)).split(50)
    right = sum(int(correct(model, test.batch(piece)).sum()) for piece in pieces)
    assert 100 * right / len(test) == pytest.approx(case.clean, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("case", DEFENDED, ids=str)
def test_robust_accuracy_is_the_published_one(case, attacked):
    low, high = sampled(attacked(case, case.attack, 300 if case is LENET5 else 500))
    assert low <= case.robust <= high
    assert high < case.clean, "so few images cannot tell an attack from none"


@pytest.mark.slow
@pytest.mark.parametrize("case", UNDEFENDED, ids=str)
def test_nothing_is_left_of_an_undefended_network(case, attacked):
    assert not attacked(case, case.attack, 200).any()


@pytest.mark.slow
def test_autoattack_is_stronger_than_pgd_and_no_stronger_than_a_proof_allows(attacked):
    """A tenth of the published iterations, for the sake of time: they leave the same 60 images."""
    autoattack = attacked(RESNET2B, "autoattack[iterations=10,queries=100]", 100)
    assert autoattack.sum() <= attacked(RESNET2B, "pgd_linf[steps=40]", 500)[:100].sum()
    assert sampled(autoattack)[1] >= RESNET2B_CERTIFIED


@pytest.mark.slow
def test_autoattack_through_our_engine_leaves_the_same_images(attacked):
    """With the same cuts as above; one image may be decided by float rounding."""
    cuts = "[iterations=10,queries=100]"
    ours, theirs = (attacked(RESNET2B, name + cuts, 100) for name in ("aa_linf", "autoattack"))
    assert int((ours ^ theirs).sum()) <= 1


@pytest.mark.slow
def test_pgd_and_torchattacks_agree_to_a_point(attacked):
    ours = attacked(RESNET2B, "pgd_linf[steps=40]", 500)
    theirs = attacked(RESNET2B, "ta_pgd_linf[steps=40]", 500)
    assert abs(int(ours.sum()) - int(theirs.sum())) <= 5
