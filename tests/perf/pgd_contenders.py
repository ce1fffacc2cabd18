"""W2: verdicts of PGD-40 on published networks; ours, torchattacks, foolbox and a bare loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from racing import run_lap
from torch.nn.functional import cross_entropy

from baselines.networks.weights import fit_weights, load_weights
from baselines.networks.zoo import build_network
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.data.load import load
from benchmark.evaluation.verdicts import frozen

STEPS = 40
Work = Callable[[], Any]


class Case(NamedTuple):
    """A published network and the threat it is attacked under."""

    file: str
    network: str
    dataset: str
    eps: float


CASES = {
    "lenet5": Case("mnist_lenet5_advtrained.pt", "lenet5", "mnist", 0.3),
    "resnet2b": Case("cifar10_resnet2b_adv.pth", "resnet2b", "cifar10", 2 / 255),
    "undefended": Case("cifar10_resnet20_standard.th", "resnet20", "cifar10", 8 / 255),
    "undefended_lenet5": Case("mnist_lenet5_clntrained.pt", "lenet5", "mnist", 0.3),
}


def task(name: str, n: str) -> tuple[torch.nn.Module, Batch, Case]:
    """The network as anybody has it, and the first n test images."""
    case = CASES[name]
    test = load(case.dataset, Path(os.environ["REATTACK_DATA"]), False, 0).test
    network = build_network(case.network, test.shape, 10, stream(0))
    fit_weights(network, load_weights(Path(os.environ["REATTACK_CHECKPOINTS"]) / case.file))
    return network.eval(), test.first(int(n)).batch(), case


def survivors(model: torch.nn.Module, attacked: torch.Tensor, labels: torch.Tensor) -> list[int]:
    """Which images are still classified correctly."""
    with torch.no_grad():
        parts = [model(part).argmax(dim=1) for part in attacked.split(500)]
    return (torch.cat(parts) == labels).nonzero().flatten().tolist()


def reattack(name: str, n: str, precision: str = "float32") -> Work:
    """Ours, audit and all."""
    from attacks.gradient import PGDLinf
    from benchmark.core.streams import Streams
    from benchmark.evaluation.precision import in_precision
    from benchmark.evaluation.verdicts import Meter, survives
    from benchmark.execution.allocator import keep_memory

    keep_memory()
    model, batch, case = task(name, n)
    attack = PGDLinf(case.eps, STEPS, 2.5 * case.eps / STEPS)
    rng = Streams.named(len(batch.labels), "race")
    asked = in_precision(frozen(model), precision)

    def work() -> Any:
        verdicts, _ = survives(attack, asked, batch, Meter(), rng)
        return verdicts.nonzero().flatten().tolist()

    return work


def reattack_bfloat16(name: str, n: str) -> Work:
    """Ours, searching in bfloat16."""
    return reattack(name, n, "bfloat16")


def torchattacks(name: str, n: str) -> Work:
    """The library, in batches of 500."""
    from torchattacks import PGD

    model, batch, case = task(name, n)
    attack = PGD(model, case.eps, 2.5 * case.eps / STEPS, STEPS)

    def work() -> Any:
        parts = zip(batch.images.split(500), batch.labels.split(500), strict=True)
        return survivors(model, torch.cat([attack(*part) for part in parts]), batch.labels)

    return work


def foolbox(name: str, n: str) -> Work:
    """The library, in batches of 500."""
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfProjectedGradientDescentAttack as Attack

    model, batch, case = task(name, n)
    attack = Attack(abs_stepsize=2.5 * case.eps / STEPS, steps=STEPS, random_start=True)
    wrapped = PyTorchModel(model, bounds=(0, 1), device="cpu")

    def work() -> Any:
        parts = zip(batch.images.split(500), batch.labels.split(500), strict=True)
        attacked = [attack(wrapped, *part, epsilons=case.eps)[1] for part in parts]
        return survivors(model, torch.cat(attacked), batch.labels)

    return work


def bare_loop(name: str, n: str) -> Work:
    """What anybody writes: nothing is checked, nothing leaves."""
    model, batch, case = task(name, n)

    def attacked(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        delta = torch.empty_like(images).uniform_(-case.eps, case.eps)
        for _ in range(STEPS):
            current = (images + delta).clamp(0, 1).requires_grad_()
            loss = cross_entropy(model(current), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, current)
            delta = delta + 2.5 * case.eps / STEPS * gradient.sign()
            delta = delta.clamp(-case.eps, case.eps)
        return (images + delta).clamp(0, 1)

    def work() -> Any:
        parts = zip(batch.images.split(500), batch.labels.split(500), strict=True)
        return survivors(model, torch.cat([attacked(*part) for part in parts]), batch.labels)

    return work


def bare_loop_kept(name: str, n: str) -> Work:
    """The bare loop with our setting of the allocator: what is left is the algorithm."""
    from benchmark.execution.allocator import keep_memory

    keep_memory()
    return bare_loop(name, n)


CONTENDERS: dict[str, Callable[..., Work]] = {
    contender.__name__: contender
    for contender in (
        reattack, reattack_bfloat16, bare_loop, bare_loop_kept, torchattacks, foolbox
    )
}  # fmt: skip

if __name__ == "__main__":
    run_lap(CONTENDERS)
