"""Copies of models, whatever they hold, and hashes of all that they hold."""

from __future__ import annotations

import threading
from collections import deque

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from benchmark.core.copying import apart, bare, copied
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.evaluation.verdicts import frozen, state_hash

IMAGES = torch.rand(3, 64, generator=stream("copying"))


class Plain(nn.Module):
    """A network; others keep something beside it."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))

    def forward(self, images):
        return self.net(images)


class KeepsFeatures(Plain):
    def forward(self, images):
        self.features = self.net[0](images)
        return self.net[2](self.features.relu())


class KeepsMany(Plain):
    """In places where attributes are not looked for."""

    def __init__(self):
        super().__init__()
        self.past, self.by_name = deque(maxlen=3), {"last": [None]}

    def forward(self, images):
        logits = super().forward(images)
        self.past.append(logits)
        self.by_name["last"][0] = (logits.sum(), logits)
        return logits


class HoldsALock(KeepsFeatures):
    def __init__(self):
        super().__init__()
        self.lock, self.file = threading.Lock(), (line for line in "abc")

    def forward(self, images):
        with self.lock:
            return super().forward(images)


class WeightFromOthers(Plain):
    """As torch.nn.utils.weight_norm of old: a weight that is computed before each pass."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(10, 1))
        self.weight = self.size * self.net[2].weight

    def forward(self, images):
        self.weight = self.size * self.net[2].weight
        return self.net[:2](images) @ self.weight.t()


@pytest.mark.parametrize("kind", [Plain, KeepsFeatures, KeepsMany, HoldsALock, WeightFromOthers])
def test_a_copy_answers_alike_and_shares_no_tensor(kind):
    model = kind().eval()
    expected = model(IMAGES.clone().requires_grad_())
    copy = copied(model)
    assert torch.equal(copy(IMAGES), expected)
    ours = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not ours & {tensor.data_ptr() for tensor in copy.state_dict().values()}
    assert all(parameter.requires_grad for parameter in copy.parameters())
    assert state_hash(copy) == state_hash(model)


def test_what_a_vmapped_pass_left_behind_is_copied_too():
    model = KeepsFeatures().eval()
    many = {name: torch.stack([one.detach()] * 2) for name, one in model.named_parameters()}
    vmap(lambda one: functional_call(model, one, (IMAGES,)))(many)
    assert torch.equal(copied(model)(IMAGES), model(IMAGES))


def test_a_model_that_cannot_be_copied_says_so():
    class Refuses(Plain):
        def __deepcopy__(self, memo):
            raise ValueError("there is only one of me")

    with pytest.raises(AuditError, match=r"cannot be copied .*there is only one of me"):
        copied(Refuses())


# The same module under several names.


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.Linear(64, 64)
        self.first, self.second, self.head = layer, layer, nn.Linear(64, 10)

    def forward(self, images):
        return self.head(self.second(self.first(images).relu()).relu())


class Repeated(Twice):
    """A block of several layers, again and again, below another module."""

    def __init__(self):
        super().__init__()
        block = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
        self.inner = nn.ModuleList([nn.Sequential(block, block)] * 2)

    def forward(self, images):
        for layer in self.inner:
            images = layer(images)
        return self.head(images)


class TiedWeights(Twice):
    """Two layers of one weight."""

    def __init__(self):
        super().__init__()
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight


@pytest.mark.parametrize("kind", [Twice, Repeated, TiedWeights])
def test_a_call_with_other_parameters_leaves_the_model_as_it_was(kind):
    model = kind().eval()
    before, expected = state_hash(model), model(IMAGES)
    copy = frozen(model)
    assert torch.equal(copy(IMAGES), expected)
    doubled = {name: 2 * tensor for name, tensor in copy.named_parameters()}
    found = functional_call(copy, doubled, (IMAGES,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    assert torch.equal(found, model(IMAGES)), "all names have the new values"
    assert state_hash(copy) == before, "and the old ones again"
    assert len(list(copy.parameters())) == len(list(model.parameters())), "still shared"


def test_torch_alone_leaves_a_module_of_two_names_with_the_values_of_the_call():
    """What `apart` is for; if this fails, torch does it right and `apart` may go."""
    model = Twice().eval()
    before = state_hash(model)
    functional_call(model, {name: 2 * one for name, one in model.named_parameters()}, (IMAGES,))
    assert state_hash(model) != before


def test_modules_of_one_name_stay_themselves():
    model = Plain()
    inside = list(model.modules())
    apart(model)
    assert all(one is other for one, other in zip(inside, model.modules(), strict=True))


# Wrappers.


def test_wrappers_that_change_no_answer_are_taken_off():
    model = Plain().eval()
    parallel = nn.DataParallel(model)
    compiled = torch.compile(nn.Sequential(torch.compile(model, backend="eager")), backend="eager")
    assert bare(parallel) is model
    assert bare(nn.DataParallel(parallel)) is model
    assert bare(compiled)[0] is model
    assert bare(model) is model


# Hashes.


class ExtraState(Plain):
    def __init__(self, value):
        super().__init__()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(0.1)
        self.value = value

    def get_extra_state(self):
        return self.value

    def set_extra_state(self, state):
        self.value = state


EXTRA = [
    {"scale": 1.0}, {"scale": 2.0}, {"scale": torch.ones(2)}, {"scale": torch.zeros(2)},
    {"other": 1.0}, [1, "a"], [1, "b"], (torch.ones(1), {"a": b"x"}), None, 3, torch.ones(3),
]  # fmt: skip


def test_a_state_hash_sees_extra_states_of_any_kind():
    hashes = [state_hash(ExtraState(value)) for value in EXTRA]
    assert len(set(hashes)) == len(EXTRA)
    assert hashes == [state_hash(frozen(ExtraState(value))) for value in EXTRA]


def test_a_state_hash_sees_buffers_that_are_not_saved():
    def model(value):
        made = nn.Flatten()
        made.register_buffer("shift", torch.full((2,), value), persistent=False)
        return made

    assert state_hash(model(1.0)) == state_hash(model(1.0)) != state_hash(model(2.0))


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_a_state_hash_takes_tensors_of_any_kind():
    values = [
        torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.bool),
        torch.ones(2, dtype=torch.bfloat16), torch.zeros(()), torch.zeros(0),
        torch.eye(3).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.arange(6.0).view(2, 3).t(),
    ]  # fmt: skip
    hashes = set()
    for value in values:
        made = nn.Flatten()
        made.register_buffer("given", value)
        hashes.add(state_hash(made))
    assert len(hashes) == len(values)
