"""Architectures whose trained weights others published; parameter names are theirs, so they load.

None of them normalises: `baselines.networks.zoo` puts that in front.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from benchmark.core.errors import UsageError
from benchmark.core.types import Shape


def expect_shape(name: str, shape: Shape, expected: Shape) -> None:
    """Raise UsageError if a network made for images of one shape is asked for another."""
    if shape != expected:
        raise UsageError(
            f"network {name!r} takes images of shape {expected}, got {shape}; choose another"
        )


class LeNet5(nn.Module):
    """Two convolutions, two linear layers; the MNIST network of BorealisAI/advertorch."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.linear1 = nn.Linear(64 * 7 * 7, 200)
        self.linear2 = nn.Linear(200, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 1, 28, 28)."""
        hidden = self.pool(self.conv1(images)).relu()  # as pooling what relu leaves, but cheaper
        hidden = self.pool(self.conv2(hidden)).relu()
        logits: Tensor = self.linear2(self.linear1(hidden.flatten(1)).relu())
        return logits


class PlainBlock(nn.Module):
    """A residual block without batch norm, as alpha-beta-CROWN verifies."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential(
            *([] if same else [nn.Conv2d(inputs, outputs, 1, stride)])  # nothing = identity
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        change: Tensor = self.conv2(self.conv1(hidden).relu()) + self.shortcut(hidden)
        return change.relu()


class PlainResNet(nn.Module):
    """ResNet-2B and 4B of Verified-Intelligence/alpha-beta-CROWN (VNN-COMP), for 32x32 images."""

    def __init__(self, stem: int, widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 3, stride=2, padding=1)
        inputs, side = stem, 16
        for position, width in enumerate(widths, start=1):
            layer = nn.Sequential(PlainBlock(inputs, width, 2), PlainBlock(width, width, 1))
            self.add_module(f"layer{position}", layer)
            inputs, side = width, side // 2
        self.depth = len(widths)
        self.linear1 = nn.Linear(inputs * side * side, 100)
        self.linear2 = nn.Linear(100, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        hidden = self.conv1(images).relu()
        for position in range(1, self.depth + 1):
            hidden = self.get_submodule(f"layer{position}")(hidden)
        logits: Tensor = self.linear2(self.linear1(hidden.flatten(1)).relu())
        return logits


class PaddedBlock(nn.Module):
    """A residual block whose shortcut subsamples and pads with zero channels (option A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.padding = stride, (outputs - inputs) // 2

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        change: Tensor = self.bn2(self.conv2(self.bn1(self.conv1(hidden)).relu()))
        shortcut = hidden[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding))
        return (change + shortcut).relu()


class ResNet20(nn.Module):
    """ResNet-20 for CIFAR (He et al. 2016, section 4.2) as akamaster/pytorch_resnet_cifar10."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = self._layer(16, 16, 1)
        self.layer2 = self._layer(16, 32, 2)
        self.layer3 = self._layer(32, 64, 2)
        self.linear = nn.Linear(64, classes)

    @staticmethod
    def _layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        rest = (PaddedBlock(outputs, outputs, 1) for _ in range(2))
        return nn.Sequential(PaddedBlock(inputs, outputs, stride), *rest)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 3, 32, 32)."""
        hidden = self.bn1(self.conv1(images)).relu()
        hidden = self.layer3(self.layer2(self.layer1(hidden)))
        logits: Tensor = self.linear(hidden.mean(dim=(2, 3)))
        return logits
