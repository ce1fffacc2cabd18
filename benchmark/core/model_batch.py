"""Many adapted models as one module: each row of the batch is answered by the model it belongs to.

After adaptation there are as many models as episodes and budgets, all of one network and most of
them attacked by few images at a time. Their adapted parameters are stacked, (models, ...), and one
`torch.func.vmap` call serves them all; the parameters that did not adapt are shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import pad

from benchmark.core.copying import copied
from benchmark.core.errors import tell_once
from benchmark.core.model_access import Composite
from benchmark.core.out_of_memory import is_shortage
from benchmark.core.types import Batch

Parameters = dict[str, Tensor]
T = TypeVar("T")
SMALL = 16384
"""Pixels per model up to which a CPU gains from asking all models at once. Convolutions with other
weights for each group of rows are faster than a loop over small batches, slower over large ones."""
IGNORED = -100
"""The label cross_entropy leaves out of its mean: of rows that only fill a batch up."""


class ModelBatch(Composite):
    """Models of one network; row i belongs to model `owner[i]`, ascending."""

    def __init__(self, model: nn.Module, parameters: Parameters, owner: Tensor) -> None:
        """`parameters`: (models, ...) each; `model` has the rest. `owner`: int64 (rows,)."""
        super().__init__()
        self.model, self.parameters_of_all, self.owner = model, parameters, owner
        self.gate = nn.Identity()  # where passes are counted, whatever rows are asked
        self.owners: dict[int, nn.Module] = {}
        for name, tensor in parameters.items():  # all that answers depend on is in `state_dict`
            self.register_buffer(f"of all/{name.replace('.', '/')}", tensor)
        self.train(model.training)

    @classmethod
    def of(cls, model: nn.Module, adapted: Sequence[Parameters], rows: int) -> Self:
        """The models with these adapted parameters, each answering `rows` rows of the batch."""
        device = next(iter(adapted[0].values())).device
        owner = torch.arange(len(adapted), device=device).repeat_interleave(rows)
        return cls(copied(model), stack(adapted), owner)  # it may keep tensors of a vmapped pass

    def take(self, rows: Tensor) -> ModelBatch:
        """See `Composite`; `rows` ascending."""
        taken = ModelBatch(self.model, self.parameters_of_all, self.owner[rows])
        taken.gate, taken.owners = self.gate, self.owners
        return taken

    def forward(self, images: Tensor) -> Tensor:
        """Logits (rows, classes)."""
        present, counts = torch.unique_consecutive(self.owner, return_counts=True)
        pixels = int(counts.max()) * images[0].numel()
        batched = pays_off(images.device, pixels) and self._batches(images)
        if len(present) == 1 or not batched:
            parts = zip(present.tolist(), torch.split(images, counts.tolist()), strict=True)
            logits = torch.cat([self._one(index, part, batched) for index, part in parts])
        else:
            everyone = len(present) == len(next(iter(self.parameters_of_all.values())))
            parameters = self.parameters_of_all if everyone else self._some(present)
            logits = self._together(parameters, images, counts)
        answered: Tensor = self.gate(logits)
        return answered

    def _batches(self, images: Tensor) -> bool:
        return batches(
            self.model, self.parameters_of_all, images[:1].expand(2, *images.shape[1:])[:, None]
        )

    def _some(self, present: Tensor) -> Parameters:
        return {name: tensor[present] for name, tensor in self.parameters_of_all.items()}

    def _one(self, index: int, images: Tensor, batched: bool) -> Tensor:
        """What one model answers.

        What cannot be batched may be checkpointed: on the way back it computes once more, and must
        find its own parameters still.
        """
        parameters = unstack(self.parameters_of_all, index)
        if batched:
            return self._call(parameters, images)
        if index not in self.owners:
            self.owners[index] = owner_of(self.model, parameters)
        logits: Tensor = self.owners[index](images)
        return logits

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
        logits: Tensor = vmap(self._call, randomness="different")(parameters, filled)
        return logits[model, place]


def owner_of(model: nn.Module, parameters: Parameters) -> nn.Module:
    """A module that holds `parameters` (no copies) and shares all other tensors with `model`."""
    own = {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in parameters.items()}
    shared = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    return copied(model, {id(tensor): own.get(name, tensor) for name, tensor in shared.items()})


def pays_off(device: torch.device, pixels: int) -> bool:
    """Whether models that look at so many pixels each are better asked together."""
    return device.type != "cpu" or pixels <= SMALL


def together(model: nn.Module, parameters: Parameters, inputs: Tensor) -> bool:
    """Whether models (models, ...) are better asked in one call about `inputs` (models, ...)."""
    pays = len(inputs) > 1 and pays_off(inputs.device, inputs[0].numel())
    return pays and batches(model, parameters, inputs)


torch._C._functorch._set_vmap_fallback_warning_enabled(False)  # type: ignore[attr-defined]
"""Where vmap has no rule for an operation it loops over that one: as right, and no news."""
_BATCHES: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def batches(model: nn.Module, parameters: Parameters, inputs: Tensor) -> bool:
    """Whether vmap can ask two models of this network, forwards and on the way back; says if not.

    A network may branch on its values, which no batching rule covers, or use an operation that has
    one for the way forwards alone. It is tried on a copy, once for each module: those that adapt
    and attack make one for their parameters, and with others the answer may be another.
    """
    if model not in _BATCHES:
        two = {name: one[:2].detach().requires_grad_() for name, one in parameters.items()}
        asked, network = inputs[:2, :2].detach().requires_grad_(), copied(model)
        call = partial(functional_call, network)
        try:
            with torch.enable_grad():
                logits = vmap(lambda one, rows: call(one, (rows,)), randomness="different")(
                    two, asked
                )
                if logits.requires_grad:
                    torch.autograd.grad(logits.sum(), [asked, *two.values()], allow_unused=True)
            _BATCHES[model] = True
        except Exception as error:
            if is_shortage(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            tell_once(f"many adapted models of this network are asked one by one: {reason[:200]}")
            _BATCHES[model] = False
    return _BATCHES[model]


def each(
    model: nn.Module, function: Callable[..., Any], parameters: Parameters, *inputs: Tensor,
    alike: bool = False,
) -> Any:  # fmt: skip
    """`function` of every model (a tensor or a dict of them, stacked): in one call if that pays.

    Models of the network `model` that are `alike` have equal parameters, which need not be looked
    at one by one.
    """
    if together(model, parameters, inputs[0]):
        shared, where = (unstack(parameters, 0), None) if alike else (parameters, 0)
        dims = (where, *[0] * len(inputs))
        return vmap(function, dims, randomness="different")(shared, *inputs)
    rows = enumerate(zip(*inputs, strict=True))
    found = [function(unstack(parameters, index), *row) for index, row in rows]
    return stack(found) if isinstance(found[0], dict) else torch.stack(found)


class _Held(nn.Module):
    """A model to be worked with while other parameters stand in."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, work: Callable[[nn.Module], T]) -> T:
        return work(self.model)


def standing_in(model: nn.Module, parameters: Parameters, work: Callable[[nn.Module], T]) -> T:
    """`work` on `model` while `parameters` stand in, the way back included.

    With `functional_call` of the model alone they are gone by then, and what is checkpointed would
    be computed once more with others.
    """
    held = {f"model.{name}": tensor for name, tensor in parameters.items()}
    found: T = functional_call(_Held(model), held, (work,))
    return found


def wide(tensor: Tensor) -> Tensor:
    """In double precision, complex numbers as such."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.double))


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
