"""Sound models whose weights are held, named or computed in unusual ways."""

from __future__ import annotations

import torch
from sound_base import Around, mlp, seeded, solved
from torch import nn
from torch.nn.functional import linear, relu
from torch.nn.utils import parametrize, prune
from torch.nn.utils import spectral_norm as old_spectral_norm
from torch.nn.utils import weight_norm as old_weight_norm
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm


@seeded
def plain():
    return mlp()


# how weights are held


class TwoNames(Around):
    def __init__(self):
        super().__init__()
        self.encoder = self.hidden  # the same module again


two_names = seeded(TwoNames)


class TiedWeights(Around):
    """What the hidden layer does not explain of an image is looked at by the same layer again."""

    def __init__(self):
        super().__init__()
        self.back = nn.Linear(96, 64)
        self.hidden.weight.data /= 2
        self.back.weight = nn.Parameter(torch.zeros(64, 96))
        self.second = nn.Linear(64, 96)
        self.second.weight = self.hidden.weight
        solved(self)

    def forward(self, images):
        pixels = images.flatten(1)
        left = pixels - linear(self.hidden(pixels), self.hidden.weight.t())
        return self.head(relu(self.hidden(pixels)) + relu(self.second(left)))


tied_weights = seeded(TiedWeights)


class Quantised(Around):
    """Weights of 8 bits with a scale for each row, by hand."""

    def __init__(self):
        super().__init__()
        weight = self.hidden.weight.data
        self.scale = nn.Parameter(weight.abs().amax(1, keepdim=True) / 127)
        self.register_buffer("codes", (weight / self.scale.data).round().to(torch.int8))
        self.bias = nn.Parameter(self.hidden.bias.data)
        del self.hidden

    def forward(self, images):
        return self.head(relu(linear(images.flatten(1), self.codes * self.scale, self.bias)))


quantised = seeded(Quantised)


class ListsAndDicts(nn.Module):
    def __init__(self):
        super().__init__()
        net = mlp()
        self.weights = nn.ParameterList([net[1].weight, net[3].weight])
        self.biases = nn.ParameterDict({"hidden": net[1].bias, "out": net[3].bias})
        self.act = nn.ModuleDict({"relu": nn.ReLU(), "flat": nn.Flatten()})

    def forward(self, images):
        hidden = linear(self.act["flat"](images), self.weights[0], self.biases["hidden"])
        return linear(self.act["relu"](hidden), self.weights[1], self.biases["out"])


lists_and_dicts = seeded(ListsAndDicts)


class NamedOddly(nn.Module):
    """Its parameters and modules are called as ours are."""

    def __init__(self):
        super().__init__()
        net = mlp()
        self.gate, self.exact = net[1].weight, net[1].bias
        self.take, self.owner = net[3].weight, net[3].bias
        self.model = nn.Flatten()
        self.register_buffer("parameters_of_all", torch.ones(1))
        self.fast, self.network, self.rows_of = nn.ReLU(), nn.Identity(), 3

    def forward(self, images):
        hidden = self.fast(linear(self.model(images), self.gate, self.exact))
        return linear(self.network(hidden), self.take, self.owner)


named_oddly = seeded(NamedOddly)


class Buffers(Around):
    """Buffers that are kept, that are not, and tensors that are no buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((64,), 0.3))
        self.register_buffer("spread", torch.full((64,), 0.4), persistent=False)
        self.register_buffer("nothing", None)
        self.half = torch.tensor(0.5)
        solved(self)

    def forward(self, images):
        pixels = (images.flatten(1) - self.mean) / self.spread * self.half
        return self.head(relu(self.hidden(pixels)))


buffers = seeded(Buffers)


@seeded
def frozen_parameters():
    net = mlp()
    return net.requires_grad_(False)


@seeded
def partly_frozen():
    net = mlp()
    net[1].requires_grad_(False)
    return net


class Marked(nn.Parameter):
    """Weights of a class of their own."""


@seeded
def subclassed_weights():
    net = mlp()
    net[1].weight = Marked(net[1].weight.data)
    return net


@seeded
def extra_state():
    class Noted(Around):
        def get_extra_state(self):
            return {"epoch": 3}

        def set_extra_state(self, state):
            assert state == {"epoch": 3}

    return Noted()


@seeded
def slots_and_properties():
    class Slotted(Around):
        __slots__ = ("unused",)

        @property
        def device(self):
            return self.head.weight.device

        @property
        def parts(self):
            return [self.hidden, nn.ReLU(), self.head]

        def forward(self, images):
            return nn.Sequential(*self.parts)(images.to(self.device).flatten(1))

    return Slotted()


@seeded
def lazy():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(96), nn.ReLU(), nn.LazyLinear(10))
    net(torch.zeros(1, 1, 8, 8))
    return solved(net, net[3])


@seeded
def averaged():
    return torch.optim.swa_utils.AveragedModel(mlp())


# weights computed from others


def normed(apply):
    """An MLP whose hidden layer went through `apply`."""

    def make():
        net = mlp(64)
        apply(net[1], "weight")
        return solved(net, net[3])

    return make


old_weight_normed = seeded(normed(old_weight_norm))
weight_normed = seeded(normed(weight_norm))
old_spectral_normed = seeded(normed(old_spectral_norm))
spectral_normed = seeded(normed(spectral_norm))
orthogonal_weights = seeded(normed(orthogonal))


@seeded
def own_parametrisation():
    class Symmetric(nn.Module):
        def forward(self, weight):
            return weight.triu() + weight.triu(1).transpose(-1, -2)

    net = mlp(64)
    parametrize.register_parametrization(net[1], "weight", Symmetric())
    return solved(net, net[3])


@seeded
def pruned():
    net = mlp()
    for index in (1, 3):
        prune.l1_unstructured(net[index], "weight", amount=0.2)
    return net
