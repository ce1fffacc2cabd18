"""PGD adversarial training as `pgd_at` does it, and as a plain loop in PyTorch does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from racing import run_lap
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from baselines.networks.zoo import build_network
from benchmark.core.seeding import stream
from benchmark.data.load import load
from benchmark.evaluation.verdicts import correct, frozen

EPS, STEPS, BATCH, LR = 0.1, 7, 64, 1e-3
"""At 0.3 nothing is learnt within an epoch from initial weights."""
Work = Callable[[], Any]


def task(name: str, n: str) -> tuple[nn.Module, Any]:
    """A network with initial weights, and MNIST's first n training images."""
    data = load("mnist", Path(os.environ["REATTACK_DATA"]), False, 0)
    return build_network(name, data.shape, 10, stream("race")), data.train.first(int(n))


def clean_accuracy(model: nn.Module) -> float:
    """On 1,000 validation images: that something was learnt."""
    data = load("mnist", Path(os.environ["REATTACK_DATA"]), False, 0)
    return float(correct(frozen(model), data.validation.first(1000).batch()).float().mean())


def reattack(name: str, n: str, precision: str = "float32") -> Work:
    """One epoch of `pgd_at`; of an attack the strongest iterate, which is a forward pass more."""
    from attacks.build import build_attack
    from baselines.build import build_defense
    from benchmark.execution.allocator import keep_memory

    keep_memory()
    network, train = task(name, n)
    torch.optim.Adam(network.parameters())  # the first one imports a second's worth of torch
    build_attack("pgd_linf", {"linf": {"eps": EPS}})  # and the first of these all attacks
    options = (
        f"epochs=1,batch_size={BATCH},lr={LR},attack_steps={STEPS},ramp=0,precision={precision}"
    )
    _, defense = build_defense(f"pgd_at[{options}]")

    def work() -> Any:
        strengths = {"linf": {"eps": EPS}}
        trained = defense.fit(network, train, strengths, lambda share: None, stream("train"))
        return clean_accuracy(trained.model)

    return work


def reattack_bfloat16(name: str, n: str) -> Work:
    """The same as our recipes have it: passes in bfloat16, weights and images in float32."""
    return reattack(name, n, "bfloat16")


def plain_loop(name: str, n: str) -> Work:
    """What anybody writes."""
    network, train = task(name, n)
    loader = DataLoader(TensorDataset(*train.batch()), BATCH, shuffle=True)
    optimizer = torch.optim.Adam(network.parameters(), LR)

    def attacked(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        delta = torch.empty_like(images).uniform_(-EPS, EPS)
        for _ in range(STEPS):
            current = (images + delta).clamp(0, 1).requires_grad_()
            loss = cross_entropy(network(current), labels)
            (gradient,) = torch.autograd.grad(loss, current)
            delta = (delta + 2.5 * EPS / STEPS * gradient.sign()).clamp(-EPS, EPS)
        return (images + delta).clamp(0, 1)

    def work() -> Any:
        for images, labels in loader:
            network.eval()
            moved = attacked(images, labels)
            network.train()
            optimizer.zero_grad()
            cross_entropy(network(moved), labels).backward()
            optimizer.step()
        return clean_accuracy(network)

    return work


CONTENDERS: dict[str, Callable[..., Work]] = {
    one.__name__: one for one in (reattack, reattack_bfloat16, plain_loop)
}

if __name__ == "__main__":
    run_lap(CONTENDERS)
