"""Networks by name: images in [0, 1] in, logits out; normalisation is inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from baselines.networks.outside import build_outside, check_outside, is_outside
from baselines.networks.published import LeNet5, PlainResNet, ResNet20, expect_shape
from baselines.networks.wide_resnet import WideResNet
from benchmark.core.errors import unknown
from benchmark.core.seeding import global_state
from benchmark.core.types import Shape


class Normalise(nn.Module):
    """(images - mean) / std per channel."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Same shape as `images`."""
        return (images - self.mean).div_(self.std)


class Normalised(nn.Module):
    """A network behind its normalisation; weights that others trained go into `network`."""

    def __init__(self, normalise: Normalise, network: nn.Module) -> None:
        super().__init__()
        self.normalise, self.network = normalise, network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images in [0, 1]."""
        logits: Tensor = self.network(self.normalise(images))
        return logits


class Blocks(nn.Module):
    """Blocks of 2 x 2 pixels become channels; nn.PixelUnshuffle does nothing to an empty batch."""

    def forward(self, images: Tensor) -> Tensor:
        """(batch, 4 * channels, height / 2, width / 2)."""
        batch, channels, height, width = images.shape
        split = images.reshape(batch, channels, height // 2, 2, width // 2, 2)
        return split.permute(0, 1, 3, 5, 2, 4).reshape(batch, 4 * channels, height // 2, width // 2)


class CNN(nn.Module):
    """Convolutions with group norm (batch norm would tie the images of a batch together).

    They look at blocks of 2 x 2 pixels: about as accurate as more of them over pixels, and 2 to 4
    times as fast.

    Args:
        convolutions: output channels and stride of each.
        hidden: numbers before the last layer.
    """

    def __init__(
        self, shape: Shape, classes: int, convolutions: Sequence[tuple[int, int]], hidden: int
    ) -> None:
        super().__init__()
        channels, height, width = shape
        blocks = height % 2 == width % 2 == 0
        layers: list[nn.Module] = [Blocks()] if blocks else []
        channels, side = (4 * channels, 2) if blocks else (channels, 1)
        for outputs, stride in convolutions:
            layers += [nn.Conv2d(channels, outputs, 3, stride, padding=1)]
            layers += [nn.GroupNorm(outputs // 4, outputs), nn.ReLU()]
            channels, side = outputs, side * stride
        inputs = channels * -(-height // side) * -(-width // side)
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _usual(shape: Shape) -> Normalise:
    """The usual constants: MNIST's for one channel, CIFAR-10's for three."""
    if shape[0] == 3:
        return Normalise((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
    return Normalise((0.1307,) * shape[0], (0.3081,) * shape[0])


def small_cnn(shape: Shape, classes: int) -> nn.Module:
    """One convolution on tiny images, two on others, two linear layers: seconds on a CPU."""
    convolutions = [(32, 1)] if min(shape[1:]) < 16 else [(32, 2), (64, 1)]
    return Normalised(_usual(shape), CNN(shape, classes, convolutions, 64))


def medium_cnn(shape: Shape, classes: int) -> nn.Module:
    """Two or three wider convolutions: 3 to 9 times the work of `small_cnn`, the same kind."""
    tiny = min(shape[1:]) < 16
    convolutions = [(64, 1), (64, 1)] if tiny else [(64, 2), (128, 1), (128, 2)]
    return Normalised(_usual(shape), CNN(shape, classes, convolutions, 256))


def resnet18(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18 as torchvision builds it (He et al. 2016), with the stem for small images."""
    from torchvision.models import resnet18 as build

    network = build(num_classes=classes)
    network.conv1 = nn.Conv2d(shape[0], 64, 3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return Normalised(_usual(shape), network)


def wrn_28_10(shape: Shape, classes: int) -> nn.Module:
    """WideResNet-28-10 (Zagoruyko & Komodakis 2016): 36.5 million parameters."""
    return Normalised(_usual(shape), WideResNet(28, 10, shape[0], classes))


def lenet5(shape: Shape, classes: int) -> nn.Module:
    """The MNIST network of advertorch, for its published weights; no normalisation."""
    expect_shape("lenet5", shape, (1, 28, 28))
    return LeNet5(classes)


def resnet2b(shape: Shape, classes: int) -> nn.Module:
    """ResNet-2B of alpha-beta-CROWN, for its published CIFAR-10 weights."""
    expect_shape("resnet2b", shape, (3, 32, 32))
    return Normalised(_usual(shape), PlainResNet(8, (16,), classes))


def resnet4b(shape: Shape, classes: int) -> nn.Module:
    """ResNet-4B of alpha-beta-CROWN, for its published CIFAR-10 weights."""
    expect_shape("resnet4b", shape, (3, 32, 32))
    return Normalised(_usual(shape), PlainResNet(16, (32, 32), classes))


def resnet20(shape: Shape, classes: int) -> nn.Module:
    """ResNet-20 of akamaster/pytorch_resnet_cifar10, for its published CIFAR-10 weights."""
    expect_shape("resnet20", shape, (3, 32, 32))
    return Normalised(Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), ResNet20(classes))


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {
    maker.__name__: maker
    for maker in (small_cnn, medium_cnn, resnet18, wrn_28_10, lenet5, resnet2b, resnet4b, resnet20)
}


def build_network(name: str, shape: Shape, classes: int, rng: torch.Generator) -> nn.Module:
    """A fresh network; its initial weights depend on `rng` alone.

    Raises:
        UsageError: no such network, or it does not take images of this shape.
    """
    if not is_outside(name):
        check_network(name)
    with global_state(rng):
        if not is_outside(name):
            return NETWORKS[name](shape, classes)
        network, statistics = build_outside(name, shape, classes)
    return network if statistics is None else Normalised(Normalise(*statistics), network)


def check_network(name: str) -> None:
    """Raise UsageError for a network nobody knows."""
    if is_outside(name):
        check_outside(name)
    elif name not in NETWORKS:
        raise unknown("network", name, NETWORKS)


def default_network(dataset: str, shape: Shape) -> str:
    """The network used on a data set, of images (channels, height, width), when nobody names one.

    The listed colour sets have their usual one; whatever somebody brings, one that trains on a CPU.
    """
    colour = ("cifar10", "cifar100", "svhn")
    return "resnet18" if dataset in colour else "small_cnn"
