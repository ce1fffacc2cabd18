"""What a library is handed for the model: it protects the model, and may watch what is asked.

A query inside [0, 1] and the budget that is misclassified breaks its image, whatever the library
makes of it: the worst iterate counts. Libraries often look at their last iterate only, so what is
watched breaks a little more than the library says it does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from attacks.engine.search import bucket
from benchmark.core.errors import AuditError
from benchmark.core.model_access import Settled, float32_model
from benchmark.core.types import Batch, Threat


class ModelProxy(nn.Module):
    """Gives the model's logits, but is not its parent: `train()` and `eval()` stop here.

    Libraries switch modes and do not always switch back, and read the device from the first
    parameter, which a model need not have: this one has `anchor`.
    """

    anchor: nn.Parameter

    def __init__(self, model: nn.Module, device: torch.device, positive: bool = False) -> None:
        """`positive` shifts each image's logits to be at least 1, which no margin notices."""
        super().__init__()
        self.held = (model,)  # nn.Module does not look for children inside a tuple
        self.positive = positive
        self.anchor = nn.Parameter(torch.zeros((), device=device), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes); AuditError if the model breaks down on images that are fine."""
        logits: Tensor = self.held[0](images)
        if not logits.isfinite().all():
            broken = ~logits.isfinite().all(dim=1) & images.isfinite().flatten(1).all(dim=1)
            if broken.any():
                raise AuditError(f"logits are not finite for {int(broken.sum())} attacked images")
        if self.positive:
            logits = logits - logits.detach().amin(dim=1, keepdim=True) + 1
        return logits


class Ended(Exception):
    """Raised through the library's code when nothing is left to find."""


class WatchedProxy(ModelProxy):
    """A proxy that keeps, for each image, the first query that breaks it.

    Row r of a query of k * n rows is taken for image r % n: so ask libraries that work on the
    whole batch at once, with one or several versions of each image, and all that are given a
    single image. What counts is checked against that image, so a mistake here could miss a
    success, but not invent one. Queries of any other length are answered, not watched.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Batch,
        threat: Threat,
        *,
        positive: bool,
        saves: bool,
        ends: bool,
    ) -> None:
        """`saves`: ask the network about standing images only; `ends`: stop when none stands.

        What is `Settled` counts as broken by the image itself.
        """
        broken = torch.zeros_like(batch.labels, dtype=torch.bool)
        if isinstance(model, Settled):
            broken, model = model.settled.clone(), model.model
        super().__init__(model, batch.images.device, positive)
        self.batch, self.threat, self.saves, self.ends = batch, threat, saves, ends
        self.proofs = batch.images.clone()
        self.broken = broken
        self.logits = torch.empty(0)
        self.rows: Tensor | None = None
        """The images (int64) the network is asked about; None: all."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes), of broken images perhaps those that broke them; may end."""
        copies, rest = divmod(len(images), len(self.batch.labels))
        if rest:
            return super().forward(images)
        everyone = torch.arange(len(self.batch.labels), device=images.device)
        logits = super().forward(images) if self.rows is None else self._some(images, copies)
        return self._watch(everyone.repeat(copies), images, logits)

    def ask(self, rows: Tensor, images: Tensor) -> Tensor:
        """Logits for versions of the images `rows` (int64), in any order; watches, and may end."""
        return self._watch(rows, images, super().forward(images))

    def _watch(self, rows: Tensor, images: Tensor, logits: Tensor) -> Tensor:
        if images.shape[1:] == self.batch.images.shape[1:]:
            self._look(rows, images.detach(), logits.detach())
        if self.ends and self.broken.all():
            raise Ended
        return logits

    def _some(self, images: Tensor, copies: int) -> Tensor:
        """The network's logits for `rows`, the remembered ones, without gradient, for the rest."""
        assert self.rows is not None
        starts = torch.arange(copies, device=self.rows.device) * len(self.batch.labels)
        rows = (starts[:, None] + self.rows).flatten()
        logits = super().forward(images.index_select(0, rows))
        return self.logits.repeat(copies, 1).index_copy(0, rows, logits)

    @torch.no_grad()
    def _look(self, rows: Tensor, images: Tensor, logits: Tensor) -> None:
        """Note which images a query breaks for the first time, each by its first version."""
        if not len(self.logits):  # any that are wrong
            self.logits = 1 - one_hot(self.batch.labels, logits.shape[1]).to(logits)
            self._save()
        wrong = (logits.argmax(dim=1) != self.batch.labels[rows]) & ~self.broken[rows]
        places = wrong.nonzero().flatten()
        if not len(places):
            return
        places = places[self._inside(rows[places], images[places])]
        held = self.held[0]
        if float32_model(held) is not held and len(places):
            places = places[self._wrong(rows[places], images[places])]
        first = torch.full_like(self.batch.labels, len(images))
        first.scatter_reduce_(0, rows[places], places, "amin")
        new = (first < len(images)).nonzero().flatten()
        first = first[new]
        self.broken[new], self.proofs[new], self.logits[new] = True, images[first], logits[first]
        self._save()

    def _save(self) -> None:
        """Leave out broken images, in groups (see `attacks.engine.search`)."""
        size = bucket(int((~self.broken).sum()))
        asked = self.broken if self.rows is None else self.rows
        if self.saves and size < len(asked):
            self.rows = self.broken.int().sort(stable=True).indices[:size].sort().values

    def _inside(self, rows: Tensor, proposals: Tensor) -> Tensor:
        """Whether proposals for the images `rows` (int64) keep to the box and the threat: bool."""
        flat = proposals.flatten(1)
        boxed = ((flat >= 0) & (flat <= 1)).all(dim=1)
        return boxed & self.threat.inside(self.batch.images[rows], proposals)

    @torch.no_grad()
    def _wrong(self, rows: Tensor, proposals: Tensor) -> Tensor:
        """Whether the model in float32 misclassifies proposals for the images `rows`: bool."""
        logits: Tensor = float32_model(self.held[0])(proposals)
        return logits.argmax(dim=1) != self.batch.labels[rows]

    def settle(self, proposals: Tensor) -> Tensor:
        """What the library returns where that breaks an image, else the query that did.

        Where the first success is the last word, it is that query at once.
        """
        rows = self.broken.nonzero().flatten()
        if not self.ends and len(rows):
            found = proposals[rows]
            rows = rows[~(self._inside(rows, found) & self._wrong(rows, found))]
        proposals = proposals.clone()
        proposals[rows] = self.proofs[rows]
        return proposals
