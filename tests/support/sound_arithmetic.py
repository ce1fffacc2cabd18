"""Sound models of unusual arithmetic: spectra, own functions, routing, weights that are made."""

from __future__ import annotations

import torch
from sound_base import Around, digits, headed, mlp, seeded, solved
from torch import nn
from torch.nn.functional import relu, softplus, unfold
from torch.utils.checkpoint import checkpoint


class Experts(nn.Module):
    """Each image goes to the one expert that its router likes best."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(64, 3)
        self.experts = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

    def forward(self, images):
        pixels = images.flatten(1)
        share, chosen = self.router(pixels).softmax(1).max(1)
        found = torch.zeros_like(pixels)
        for index, expert in enumerate(self.experts):
            rows = (chosen == index).nonzero().flatten()
            if len(rows):
                found[rows] = relu(expert(pixels[rows])) * share[rows, None]
        return torch.cat([found, relu(pixels - 0.3)], 1)


@seeded
def mixture_of_experts():
    return headed(Experts())


@seeded
def dropouts():
    layers = nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 96), nn.SELU(), nn.AlphaDropout(0.5)
    return headed(nn.Sequential(*layers))


class StochasticDepth(Around):
    """Leaves its second layer out now and then in training."""

    def forward(self, images):
        hidden = relu(self.hidden(images.flatten(1)))
        if not self.training or torch.rand(()) < 0.5:
            hidden = hidden + 0.1 * hidden.square()
        return self.head(hidden)


@seeded
def stochastic_depth():
    return solved(StochasticDepth())


class Fourier(nn.Module):
    """A complex filter in the frequencies of the image."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(4, 8, 5, dtype=torch.cfloat))

    def forward(self, images):
        spectra = torch.fft.rfft2(images, norm="ortho") * self.filter
        return relu(torch.fft.irfft2(spectra, norm="ortho"))


@seeded
def fourier():
    return headed(Fourier())


class Einsum(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Parameter(torch.randn(8, 10)), nn.Parameter(torch.randn(8, 10))

    def forward(self, images):
        found = torch.einsum("bchw,hi,wj->bcij", images - 0.3, self.left, self.right)
        return relu(found)


@seeded
def einsum():
    return headed(Einsum())


class Soft(torch.autograd.Function):
    """softplus with a gradient of its own."""

    @staticmethod
    def forward(ctx, inputs):
        ctx.save_for_backward(inputs)
        return softplus(inputs)

    @staticmethod
    def backward(ctx, gradient):
        (inputs,) = ctx.saved_tensors
        return gradient * inputs.sigmoid()


class OwnFunction(Around):
    def forward(self, images):
        return self.head(Soft.apply(self.hidden(images.flatten(1))))


@seeded
def own_function():
    return solved(OwnFunction())


class Vmapped(Around):
    """Image by image, through torch.func."""

    def forward(self, images):
        return torch.func.vmap(lambda one: self.head(relu(self.hidden(one.flatten()))))(images)


@seeded
def vmap_inside():
    return Vmapped()


class Called(Around):
    def forward(self, images):
        halved = {name: one * 0.5 for name, one in self.hidden.named_parameters()}
        hidden = torch.func.functional_call(self.hidden, halved, (2 * images.flatten(1),))
        return self.head(relu(hidden))


@seeded
def functional_call_inside():
    return solved(Called())


class NoGradParts(Around):
    """What an image is divided by counts as a constant."""

    def forward(self, images):
        pixels = images.flatten(1)
        with torch.no_grad():
            size = pixels.norm(dim=1, keepdim=True).clamp_min(1)
        return self.head(relu(self.hidden(4 * pixels / size)))


@seeded
def no_grad_parts():
    return solved(NoGradParts())


class Templates(nn.Module):
    """Distances to the mean image of each class: nothing that could adapt."""

    def __init__(self):
        super().__init__()
        images, labels = digits()
        self.register_buffer("means", torch.stack([images[labels == k].mean(0) for k in range(10)]))

    def forward(self, images):
        return -torch.cdist(images.flatten(1), self.means.flatten(1)).square()


@seeded
def no_parameters():
    return Templates()


class Neighbours(nn.Module):
    """A soft vote of the images it was shown."""

    def __init__(self):
        super().__init__()
        images, labels = digits()
        self.register_buffer("images", images[:200].flatten(1))
        self.register_buffer("labels", labels[:200])
        self.sharpness = nn.Parameter(torch.tensor(4.0))

    def forward(self, images):
        near = -self.sharpness * torch.cdist(images.flatten(1), self.images).square()
        votes = images.new_zeros(200, 10).index_put((torch.arange(200), self.labels),
                                                    images.new_ones(200))  # fmt: skip
        return torch.log((near.softmax(1) @ votes + 1e-4) / 1.001)


@seeded
def soft_neighbours():
    return Neighbours()


class TwoHeads(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.heads = nn.Flatten(), nn.ModuleList([mlp(64), mlp(80)])

    def forward(self, images):
        return torch.stack([head(self.body(images)) for head in self.heads]).mean(0)


@seeded
def two_heads():
    return TwoHeads()


class LowRank(Around):
    """A correction of low rank beside weights that do not learn."""

    def __init__(self):
        super().__init__()
        self.requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(64, 2) / 8), nn.Parameter(torch.zeros(2, 96))

    def forward(self, images):
        pixels = images.flatten(1)
        return self.head(relu(self.hidden(pixels) + pixels @ self.down @ self.up))


@seeded
def low_rank():
    return LowRank()


class Generated(nn.Module):
    """Weights that another network makes."""

    def __init__(self):
        super().__init__()
        self.code = nn.Parameter(torch.randn(96, 8))
        self.maker = nn.Linear(8, 64)

    def forward(self, images):
        return relu(images.flatten(1) @ self.maker(self.code).t() / 2)


@seeded
def generated_weights():
    return headed(Generated())


class Flow(nn.Module):
    """A few steps of an ordinary differential equation, each recomputed on the way back."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Linear(64, 64)

    def forward(self, images):
        state = images.flatten(1)
        for _ in range(3):
            state = state + 0.5 * checkpoint(self._slope, state, use_reentrant=False)
        return state

    def _slope(self, state):
        return self.slope(state).tanh()


@seeded
def flow():
    return headed(Flow())


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Linear(4, 24), nn.Linear(16, 16)

    def forward(self, images):
        tokens = relu(self.embed(unfold(images, 2, stride=2).mT))
        return tokens + relu(self.mix(tokens.mT)).mT


@seeded
def patch_mixer():
    return headed(Patches())


@seeded
def bilinear():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.product = nn.Bilinear(64, 64, 64)

        def forward(self, images):
            return self.product(images.flatten(1), 1 - images.flatten(1))

    return headed(Bilinear())
