"""Many adapted models as one module: each row of the batch is answered by the model it belongs to.

After adaptation there are as many models as episodes and budgets, all of one network and most of
them attacked by few images at a time. Their adapted parameters are stacked, (models, ...), and one
`torch.func.vmap` call serves them all; the parameters that did not adapt are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import pad

from benchmark.core.types import Batch

Parameters = dict[str, Tensor]
SMALL = 16384
"""Pixels per model up to which a CPU gains from asking all models at once. Convolutions with other
weights for each group of rows are faster than a loop over small batches, slower over large ones."""
IGNORED = -100
"""The label cross_entropy leaves out of its mean: of rows that only fill a batch up."""


class Stacked(nn.Module):
    """Models of one network; row i belongs to model `owner[i]`, ascending."""

    def __init__(self, model: nn.Module, parameters: Parameters, owner: Tensor) -> None:
        """`parameters`: (models, ...) each; `model` has the rest. `owner`: int64 (rows,)."""
        super().__init__()
        self.model, self.parameters_of_all, self.owner = model, parameters, owner
        self.gate = nn.Identity()  # where passes are counted, whatever rows are asked
        for name, tensor in parameters.items():  # all that answers depend on is in `state_dict`
            self.register_buffer(name.replace(".", "/"), tensor)
        self.train(model.training)

    @classmethod
    def of(cls, model: nn.Module, adapted: Sequence[Parameters], rows: int) -> Self:
        """The models with these adapted parameters, each answering `rows` rows of the batch."""
        device = next(iter(adapted[0].values())).device
        owner = torch.arange(len(adapted), device=device).repeat_interleave(rows)
        return cls(model, stack(adapted), owner)

    def take(self, rows: Tensor) -> Stacked:
        """See `benchmark.core.asking.ByRows`; `rows` ascending."""
        taken = Stacked(self.model, self.parameters_of_all, self.owner[rows])
        taken.gate = self.gate
        return taken

    def forward(self, images: Tensor) -> Tensor:
        """Logits (rows, classes)."""
        present, counts = torch.unique_consecutive(self.owner, return_counts=True)
        parameters = {name: tensor[present] for name, tensor in self.parameters_of_all.items()}
        pixels = int(counts.max()) * images[0].numel()
        if len(present) == 1 or not pays_off(images.device, pixels):
            parts = torch.split(images, counts.tolist())
            logits = torch.cat(
                [self._call(unstack(parameters, index), part) for index, part in enumerate(parts)]
            )
        else:
            logits = self._together(parameters, images, counts)
        answered: Tensor = self.gate(logits)
        return answered

    def _call(self, parameters: Parameters, images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.model, parameters, (images,))
        return logits

    def _together(self, parameters: Parameters, images: Tensor, counts: Tensor) -> Tensor:
        """One call over (models, most rows of any, ...): the shorter ones are filled up."""
        model = torch.arange(len(counts), device=images.device).repeat_interleave(counts)
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(images), device=images.device) - starts[model]
        filled = images.new_zeros(len(counts), int(counts.max()), *images.shape[1:])
        filled = filled.index_put((model, place), images)
        logits: Tensor = each(self._call, parameters, filled)
        return logits[model, place]


def pays_off(device: torch.device, pixels: int) -> bool:
    """Whether models that look at so many pixels each are better asked together."""
    return device.type != "cpu" or pixels <= SMALL


def together(inputs: Tensor) -> bool:
    """Whether models are better asked in one call about `inputs` (models, rows, ...)."""
    return len(inputs) > 1 and pays_off(inputs.device, inputs[0].numel())


def each(
    function: Callable[..., Any], parameters: Parameters, *inputs: Tensor, alike: bool = False
) -> Any:
    """`function` of every model (a tensor or a dict of them, stacked): in one call if that pays.

    Models that are `alike` have equal parameters, which need not be looked at one by one. A
    network may branch on its values, which no batching rule covers: then a loop does it. If it is
    `function` itself that fails, the loop says so.
    """
    if together(inputs[0]):
        shared, where = (unstack(parameters, 0), None) if alike else (parameters, 0)
        dims = (where, *[0] * len(inputs))
        try:
            return vmap(function, dims, randomness="different")(shared, *inputs)
        except (RuntimeError, NotImplementedError):
            pass
    rows = enumerate(zip(*inputs, strict=True))
    found = [function(unstack(parameters, index), *row) for index, row in rows]
    return stack(found) if isinstance(found[0], dict) else torch.stack(found)


def stack(many: Sequence[Parameters]) -> Parameters:
    """One dict of tensors (models, ...) from a dict per model."""
    return {name: torch.stack([one[name] for one in many]) for name in many[0]}


def unstack(parameters: Parameters, index: int) -> Parameters:
    """The parameters of one model."""
    return {name: tensor[index] for name, tensor in parameters.items()}


def side_by_side(batches: Sequence[Batch]) -> Batch:
    """Batches of different sizes as one (batches, most rows of any, ...); filling rows are IGNORED.

    >>> sizes = [Batch(torch.zeros(n, 1, 2, 2), torch.ones(n).long()) for n in (1, 3)]
    >>> side_by_side(sizes).labels.tolist()
    [[1, -100, -100], [1, 1, 1]]
    """
    most = max(len(batch.labels) for batch in batches)
    images, labels = [], []
    for batch in batches:
        short = most - len(batch.labels)
        images.append(pad(batch.images, (0, 0) * (batch.images.dim() - 1) + (0, short)))
        labels.append(pad(batch.labels, (0, short), value=IGNORED))
    return Batch(torch.stack(images), torch.stack(labels))
