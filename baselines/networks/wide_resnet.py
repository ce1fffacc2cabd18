"""WideResNet (Zagoruyko & Komodakis 2016), parameters named as in TRADES and RobustBench."""

from __future__ import annotations

from torch import Tensor, nn


class WideBlock(nn.Module):
    """Pre-activation block: normalise, rectify, convolve, twice; no dropout."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.same = inputs == outputs
        if not self.same:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, outputs, height / stride, width / stride)."""
        active = self.bn1(hidden).relu()
        shortcut = hidden if self.same else self.convShortcut(active)
        change: Tensor = self.conv2(self.bn2(self.conv1(active)).relu())
        return change + shortcut


class WideGroup(nn.Module):
    """Blocks of one width; the first may subsample."""

    def __init__(self, blocks: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        rest = (WideBlock(outputs, outputs, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(WideBlock(inputs, outputs, stride), *rest)

    def forward(self, hidden: Tensor) -> Tensor:
        """See `WideBlock.forward`."""
        out: Tensor = self.layer(hidden)
        return out


class WideResNet(nn.Module):
    """`depth` = 6 * blocks + 4 layers, `widen` times the channels of the thin network."""

    def __init__(self, depth: int, widen: int, channels: int, classes: int) -> None:
        super().__init__()
        blocks, width = (depth - 4) // 6, 16 * widen
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.block1 = WideGroup(blocks, 16, width, 1)
        self.block2 = WideGroup(blocks, width, 2 * width, 2)
        self.block3 = WideGroup(blocks, 2 * width, 4 * width, 2)
        self.bn1 = nn.BatchNorm2d(4 * width)
        self.fc = nn.Linear(4 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, height, width)."""
        hidden = self.block3(self.block2(self.block1(self.conv1(images))))
        logits: Tensor = self.fc(self.bn1(hidden).relu().mean(dim=(2, 3)))
        return logits
