"""Which weights training ends with: the last, their running average, or those of the best epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Split
from benchmark.evaluation.verdicts import Meter, correct, frozen, survives

BATCH = 500


class FinalWeights:
    """Follows a training, and puts into its model what it should end with.

    The average is theta_bar <- decay * theta_bar + (1 - decay) * theta after each update, batch
    statistics likewise; the best epoch is that of the highest robust accuracy on images that are
    not trained on (Rice et al. 2020), of the average where there is one.
    """

    def __init__(self, model: nn.Module, decay: float, held_out: Split | None) -> None:
        """`decay` 0 averages nothing; without `held_out` images there is no best epoch."""
        self.model, self.held_out = model, held_out
        self.averaged = (
            AveragedModel(model, multi_avg_fn=_ema(decay), use_buffers=True)
            if decay else None
        )  # fmt: skip
        self.best = _copies(model) if held_out else {}

    @property
    def now(self) -> nn.Module:
        """What training would end with now."""
        found: nn.Module = self.averaged.module if self.averaged else self.model
        return found

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that it remembers, for snapshots: restored in place."""
        averaged = self.averaged.state_dict() if self.averaged else {}
        return {f"average/{name}": tensor for name, tensor in averaged.items()} | {
            f"best/{name}": tensor for name, tensor in self.best.items()
        }

    def update(self) -> None:
        """After each step of the optimiser."""
        if self.averaged:
            self.averaged.update_parameters(self.model)

    def robust(self, attacks: Sequence[Attack], meter: Meter) -> float | None:
        """Share of the held-out images that survive all `attacks`; None if none are held out."""
        if not self.held_out:
            return None
        model, right = frozen(self.now), 0
        device = next(self.now.parameters()).device
        for first in range(0, len(self.held_out), BATCH):
            batch = self.held_out.batch(slice(first, first + BATCH)).to(device)
            standing = correct(model, batch)
            for attack in attacks:
                dealt = Streams.named(len(standing), "early stopping", attack.name, first)
                standing, _ = survives(attack, model, batch, meter, dealt, standing)
            right += int(standing.sum())
        return right / len(self.held_out)

    def keep(self) -> None:
        """The weights of now are the best so far."""
        for name, tensor in self.now.state_dict().items():
            self.best[name].copy_(tensor)

    def finish(self) -> None:
        """Put the weights that training ends with into the model, if they are not its last."""
        if self.best or self.averaged:
            self.model.load_state_dict(self.best or self.now.state_dict())


def hold_out(data: Split, images: int) -> tuple[Split, Split | None]:
    """The images that are trained on, and so many that are not: the same ones every time.

    Raises:
        UsageError: none would be left.
    """
    if not images:
        return data, None
    if images >= len(data):
        raise UsageError(f"early_stopping={images}: expected less than the {len(data)} images")
    order = torch.randperm(len(data), generator=stream("early stopping", data.hash))
    return data.take(order[images:]), data.take(order[:images])


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _ema(decay: float) -> Callable[..., None]:
    rule: Callable[..., None] = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return rule
