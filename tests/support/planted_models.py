"""Defenses on digits that look robust because attacks fail, and sound ones, to audit both.

Each broken one is a wrapper around a sound network, or around its training, of one known kind.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, cross_entropy, interpolate, relu

from attacks.build import strengths_of
from baselines.build import build_defense
from baselines.networks.zoo import build_network
from benchmark.core.seeding import global_state, stream
from benchmark.data.load import load
from benchmark.evaluation.verdicts import frozen

Answer = Callable[[nn.Module, Tensor], Tensor]
CONFIDENT = 150
"""Steps of training after which a network is sure of its answers, as those of users are."""


def fitted(make: Callable[[], nn.Module]) -> nn.Module:
    """A network trained on 1,000 clean digits."""
    with global_state(stream("trained")):
        network = make()
        images, labels = load("digits", None, False, 0).train.first(1000).batch()
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(CONFIDENT):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    return network.eval()


@cache
def trained(defense: str = "standard[epochs=10]") -> nn.Module:
    """A small CNN on digits as a defense trains it."""
    data = load("digits", None, False, 0)
    network = build_network("small_cnn", data.shape, data.classes, stream("planted"))
    _, made = build_defense(defense)
    strengths = strengths_of("digits")
    fit = made.fit(network, data.train, strengths, lambda share: None, stream("planted", defense))
    return frozen(fit.model)


class Changed(nn.Module):
    """A network whose images or logits something happens to."""

    def __init__(self, network: nn.Module, change: Answer) -> None:
        super().__init__()
        self.network, self.change = network, change

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10)."""
        return self.change(self.network, images)


def straight_through(changed: Tensor, images: Tensor) -> Tensor:
    """`changed` on the way there, the identity on the way back."""
    return images + (changed - images).detach()


def quantised(network: nn.Module, images: Tensor) -> Tensor:
    """Five levels."""
    return network((images * 4).round() / 4)


def resized(network: nn.Module, images: Tensor) -> Tensor:
    """Grown by a random factor, and cut at a random place (after Xie et al. 2018)."""
    side = int(torch.randint(8, 11, ()))
    left, top = (int(torch.randint(0, side - 7, ())) for _ in range(2))
    grown = interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return network(grown[..., left : left + 8, top : top + 8])


def decided(network: nn.Module, images: Tensor) -> Tensor:
    """A head that says the decision alone."""
    logits = network(images)
    return torch.zeros_like(logits).scatter(1, logits.argmax(dim=1, keepdim=True), 1.0)


def with_nan(network: nn.Module, images: Tensor) -> Tensor:
    """The slope of a root at 0 is not finite."""
    return network(images.sqrt().square())


def half_masked(network: nn.Module, images: Tensor) -> Tensor:
    """The right half of an image gives no gradient."""
    return network(torch.cat([images[..., :4], images[..., 4:].detach()], dim=-1))


def of_batch(network: nn.Module, images: Tensor) -> Tensor:
    """Normalised by the batch it is in."""
    mean, std = images.mean(dim=0, keepdim=True), images.std(dim=0, keepdim=True)
    return network(((images - mean) / (std + 0.3) + 0.3).clamp(0, 1))


def purified(network: nn.Module, images: Tensor) -> Tensor:
    """Five steps towards a surer answer within the pass (as SOAP and others do)."""
    with torch.enable_grad():
        cleaned = images.detach()
        for _ in range(5):
            asked = cleaned.clone().requires_grad_()
            logits = network(asked)
            loss = cross_entropy(logits, logits.argmax(dim=1))
            (slope,) = torch.autograd.grad(loss, asked)
            cleaned = (asked - 0.05 * slope.sign()).clamp(0, 1).detach()
    return network(straight_through(cleaned, images))


def abstaining(network: nn.Module, images: Tensor) -> Tensor:
    """A detector: digits have values of 1/16, and what has others gets one answer for all."""
    odd = (16 * images - (16 * images).round()).abs().mean(dim=(1, 2, 3)) > ODD
    return torch.where(odd[:, None], images.new_zeros(1, 10), network(images))


ODD = 0.1
"""Mean distance from a sixteenth, in sixteenths; 0.25 of any noise."""


class Winners(nn.Module):
    """k-winners-take-all (Xiao et al. 2020) in place of rectifiers, on an own small network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 512), nn.Linear(512, 512)
        self.last = nn.Linear(512, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10)."""
        hidden = images.flatten(1)
        for layer in (self.first, self.second):
            hidden = layer(hidden)
            least = hidden.topk(26, dim=1).values[:, -1:]
            hidden = torch.where(hidden >= least, hidden, torch.zeros_like(hidden))
        logits: Tensor = self.last(hidden)
        return logits


def compressed(network: nn.Module, images: Tensor) -> Tensor:
    """Coefficients of a cosine transform rounded, as JPEG does, and a made-up slope."""
    places = torch.arange(8, dtype=torch.float32)
    basis = torch.cos(torch.pi * (places + 0.5) * places[:, None] / 8)
    basis = basis / basis.norm(dim=1, keepdim=True)
    coefficients = basis @ images @ basis.T
    step = 0.2 * (1 + places[:, None] + places)
    rounded = basis.T @ ((coefficients / step).round() * step) @ basis
    return network(straight_through(rounded, images).clamp(0, 1))


BROKEN: dict[str, tuple[Answer, str]] = {
    "quantised input": (quantised, "quantised"),
    "logits x 1e4": (lambda network, images: 1e4 * network(images), "saturated"),
    "random resize": (resized, "randomised"),
    "argmax head": (decided, "no gradient"),
    "distillation": (lambda network, images: 100 * network(images), "saturated"),
    "sigmoid outputs": (lambda network, images: network(images).sigmoid(), "bounded"),
    "tanh outputs": (lambda network, images: network(images).tanh(), "bounded"),
    "NaN gradients": (with_nan, "gradients not finite"),
    "masked gradients": (half_masked, "missing gradients"),
    "batch statistics": (of_batch, "batch"),
    "inner purification": (purified, "inner optimisation"),
    "abstaining detector": (abstaining, "abstains"),
    "JPEG step": (compressed, "quantised"),
}
"""By kind: what happens to a sound network, and the flag that has to name it."""


def broken(name: str) -> nn.Module:
    """A planted defense around a sound network, in eval mode."""
    if name == WINNERS:
        return fitted(Winners)
    return Changed(trained(), BROKEN[name][0]).eval()


WINNERS = "k winners take all"
"""One more: its loss has no slope that could be followed."""


def blurred(network: nn.Module, images: Tensor) -> Tensor:
    """A fixed blur first."""
    kernel = images.new_tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).view(1, 1, 3, 3) / 16
    return network(conv2d(images, kernel, padding=1))


class Transformer(nn.Module):
    """Rows of an image as words."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 10)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, 10)."""
        logits: Tensor = self.head(self.encoder(self.embed(images[:, 0])).mean(1))
        return logits


class BatchNorm(nn.Sequential):
    """Running statistics and dropout."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(16 * 64, 10),
        )  # fmt: skip


def halved(network: nn.Module, images: Tensor) -> Tensor:
    """Passes in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return network(images).float()


def wide(network: nn.Module, images: Tensor) -> Tensor:
    """Its last layer's outputs through a function without an end."""
    logits = network(images)
    return logits + 0.1 * relu(logits)


SOUND: dict[str, Callable[[], nn.Module]] = {
    "undefended": trained,
    "pgd_at": lambda: trained("pgd_at[epochs=6]"),
    "trades": lambda: trained("trades[epochs=6]"),
    "smoothed input": lambda: Changed(trained(), blurred),
    "bfloat16": lambda: Changed(trained(), halved),
    "an odd last function": lambda: Changed(trained(), wide),
    "transformer": lambda: fitted(Transformer),
    "batch norm, dropout": lambda: fitted(BatchNorm),
}
"""By name: made and trained when asked for."""
