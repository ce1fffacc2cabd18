"""Sound models that do something unusual on the way from images to logits."""

from __future__ import annotations

from collections import deque
from functools import partial

import torch
from sound_base import Around, mlp, seeded, solved
from torch import nn
from torch.nn.functional import relu
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

# what happens on the way


@seeded
def in_place():
    class InPlace(Around):
        def forward(self, images):
            hidden = self.hidden(images.flatten(1)).mul_(2).add_(1).sub_(1).div_(2).relu_()
            return self.head(hidden).add_(1).sub_(1)

    return InPlace()


@seeded
def writes_to_its_input():
    class Writes(Around):
        def forward(self, images):
            images.sub_(0.5).mul_(2)
            return super().forward(images)

    return solved(Writes())


@seeded
def keeps_activations():
    class Keeps(Around):
        def forward(self, images):
            self.features = relu(self.hidden(images.flatten(1)))
            self.all = [*getattr(self, "all", [])[-2:], self.features]
            return self.head(self.features)

    return Keeps()


@seeded
def remembers_logits():
    class Remembers(Around):
        def __init__(self):
            super().__init__()
            self.past, self.passes = deque(maxlen=3), 0

        def forward(self, images):
            logits = super().forward(images)
            self.past.append(logits)
            self.passes += 1
            return logits

    return Remembers()


@seeded
def caches_by_batch_size():
    class Caches(Around):
        def __init__(self):
            super().__init__()
            self.masks = {}

        def forward(self, images):
            mask = self.masks.setdefault(len(images), torch.ones(len(images), 64))
            return self.head(relu(self.hidden(images.flatten(1) * mask)))

    return Caches()


def doubled(_module, inputs):
    return tuple(2 * one for one in inputs)


@seeded
def hooked():
    net, calls = mlp(), []
    net[1].register_forward_pre_hook(doubled)
    net[1].register_forward_hook(lambda _module, _inputs, answer: answer / 2)
    net[2].register_full_backward_hook(lambda *_: calls.append(1))
    net[1].weight.register_hook(lambda gradient: gradient * 1.0)
    return solved(net, net[3])


@seeded
def silent_modes():
    class Silent(Around):
        def train(self, mode=True):
            super().train(mode)

        def eval(self):
            self.train(False)

    return Silent()


@seeded
def own_call():
    class Called(Around):
        def __call__(self, images):
            return super().__call__(images * 1.0)

    return Called()


@seeded
def optional_arguments():
    class Optional(Around):
        def forward(self, images, labels=None, *, scale=1.0, **others):
            logits = super().forward(images) * scale
            return logits if labels is None else (logits, labels)

    return Optional()


@seeded
def bound_forward():
    net = mlp()
    net.forward = partial(nn.Sequential.forward, net)
    return net


@seeded
def transposed_logits():
    class Transposed(Around):
        def forward(self, images):
            hidden = relu(self.hidden(images.flatten(1)))
            return (self.head.weight @ hidden.t()).t() + self.head.bias

    return Transposed()


@seeded
def view_of_more():
    class View(Around):
        def forward(self, images):
            logits = super().forward(images)
            return torch.cat([logits, logits.mean(1, keepdim=True)], 1)[:, :10]

    return View()


# memory, precision, compilers


def checkpointed(reentrant):
    class Checkpointed(Around):
        def body(self, pixels):
            return relu(self.hidden(pixels))

        def forward(self, images):
            kept = checkpoint(self.body, images.flatten(1), use_reentrant=reentrant)
            return self.head(kept)

    return Checkpointed


checkpointed_reentrant = seeded(checkpointed(True))
checkpointed_anew = seeded(checkpointed(False))


@seeded
def checkpointed_sequence():
    class Sequence(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, images):
            return checkpoint_sequential(self.net, 2, images, use_reentrant=False)

    return Sequence()


@seeded
def offloads_what_it_saves():
    class Offloads(Around):
        def forward(self, images):
            with torch.autograd.graph.save_on_cpu():
                return super().forward(images)

    return Offloads()


@seeded
def packs_what_it_saves():
    class Packs(Around):
        def forward(self, images):
            hooks = torch.autograd.graph.saved_tensors_hooks(
                lambda one: one.double() if one.is_floating_point() else one,
                lambda one: one.float() if one.is_floating_point() else one,
            )
            with hooks:
                return super().forward(images)

    return Packs()


def inside(dtype):
    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp().to(dtype)

        def forward(self, images):
            return self.net(images.to(dtype)).float()

    return Inside


half_inside, bfloat16_inside = seeded(inside(torch.half)), seeded(inside(torch.bfloat16))
double_inside = seeded(inside(torch.double))


@seeded
def autocast_inside():
    class Autocast(Around):
        def forward(self, images):
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(images).float()

    return Autocast()


@seeded
def data_parallel():
    return nn.DataParallel(mlp())


@seeded
def compiled():
    return torch.compile(mlp(), backend="eager")


@seeded
def compiled_in_place():
    net = mlp()
    net.compile(backend="aot_eager")
    return net


@seeded
def scripted():
    return torch.jit.script(mlp())


@seeded
def traced():
    return torch.jit.trace(mlp(), torch.zeros(2, 1, 8, 8))


@seeded
def symbolic():
    return torch.fx.symbolic_trace(mlp())


@seeded
def deeply_nested():
    net = mlp()
    for _ in range(12):
        net = nn.Sequential(nn.Identity(), net)
    return net
