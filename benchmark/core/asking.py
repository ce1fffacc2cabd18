"""How an attack asks a model that is more than one module: by rows, and in which precision.

An attack may be handed many adapted models at once (each row of the batch belongs to one), or a
model whose passes run in bfloat16. Plain modules have neither: they answer any rows, exactly.
"""

from __future__ import annotations

from typing import Protocol, cast

from torch import Tensor, nn


class ByRows(Protocol):
    """A model that must know which rows of the batch it was given it is asked about."""

    def take(self, rows: Tensor) -> nn.Module:
        """The model for these rows (int64), in this order."""


def rows_of(model: nn.Module, rows: Tensor) -> nn.Module:
    """The module to call for some rows (int64) of the batch an attack was given."""
    if hasattr(type(model), "take"):  # the protocol itself would be asked for 40 us, a small pass
        return cast(ByRows, model).take(rows)
    return model


def exact(model: nn.Module) -> nn.Module:
    """The same model in float32: `model` itself unless it answers in low precision."""
    found = getattr(model, "exact", None)
    return found if isinstance(found, nn.Module) else model


def gates(model: nn.Module) -> list[nn.Module]:
    """Where every pass through `model` goes through: for counting."""
    judge = exact(model)
    found = [getattr(one, "gate", one) for one in (model, judge)]
    return found[:1] if judge is model else found
