"""How an attack asks a model that is more than one module: by rows, and in which precision.

An attack may be handed many adapted models at once (each row of the batch belongs to one), or a
model whose passes run in bfloat16. Plain modules have neither: they answer any rows, exactly. What
is which is told by the class, never by an attribute: a user's model may call its parameters `take`,
`float32_model` or `gate`.
"""

from __future__ import annotations

from torch import Tensor, nn


class Composite(nn.Module):
    """A model of ours that is made of others."""

    gate: nn.Module
    """Where every pass goes through, whatever rows are asked: for counting."""

    def take(self, rows: Tensor) -> nn.Module:
        """The model for these rows (int64) of the batch it was given, in this order."""
        raise NotImplementedError

    @property
    def judge(self) -> nn.Module:
        """The same model in float32."""
        return self


class Settled(Composite):
    """A model, and which images of the batch have a verdict already, bool (n,).

    For attacks that say `by_place`: they need not ask about those.
    """

    model: nn.Module
    settled: Tensor

    def __init__(self, model: nn.Module, settled: Tensor) -> None:
        super().__init__()
        self.model, self.settled = model, settled
        self.gate = model.gate if isinstance(model, Composite) else nn.Identity()

    def take(self, rows: Tensor) -> Settled:
        """See `Composite`."""
        return Settled(select_rows(self.model, rows), self.settled[rows])

    @property
    def judge(self) -> nn.Module:
        """See `Composite`."""
        return float32_model(self.model)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, as if nothing was settled."""
        logits: Tensor = self.model(images)
        return logits


def select_rows(model: nn.Module, rows: Tensor) -> nn.Module:
    """The module to call for some rows (int64) of the batch an attack was given."""
    return model.take(rows) if isinstance(model, Composite) else model


def float32_model(model: nn.Module) -> nn.Module:
    """The same model in float32: `model` itself unless it answers in low precision."""
    return model.judge if isinstance(model, Composite) else model


def counting_points(model: nn.Module) -> list[nn.Module]:
    """Where every pass through `model` goes through: for counting."""
    judge = float32_model(model)
    both = [model] if judge is model else [model, judge]
    return [one.gate if isinstance(one, Composite) else one for one in both]
