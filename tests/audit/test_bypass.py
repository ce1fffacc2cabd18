"""Planted models that mask gradients with what they add to a network, and sound ones."""

import pytest
import torch
from audited import bare_subject, subject, trained
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from benchmark.audit.bypass import bypass
from benchmark.core.types import Batch


class Around(nn.Module):
    """A network inside another module."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)


class Quantised(Around):
    def forward(self, images):
        return self.network((images * 16).round() / 16)


class Purified(Around):
    """Five steps towards whatever the network takes an image for; no gradient comes back."""

    def forward(self, images):
        pure = images.detach().clone()
        for _ in range(5):
            with torch.enable_grad():
                pure.requires_grad_()
                logits = self.network(pure)
                loss = cross_entropy(logits, logits.argmax(dim=1), reduction="sum")
            (gradient,) = torch.autograd.grad(loss, pure)
            pure = (pure - 0.03 * gradient.sign()).detach()
        return self.network(images + (pure - images).detach())


class Loud(Around):
    def forward(self, images):
        return 1e4 * self.network(images)


class Decided(Around):
    def forward(self, images):
        return one_hot(self.network(images).argmax(dim=1), 10).float()


class Centred(Around):
    def forward(self, images):
        return self.network((images - 0.5) * 2)


class Dropping(Around):
    def forward(self, images):
        return nn.functional.dropout(self.network(images), training=self.training)


class Halved(Around):
    def forward(self, images):
        return self.network(images) / 2


@pytest.mark.parametrize("broken", [Quantised, Purified, Loud, Decided])
def test_what_masks_gradients_is_flagged(broken, tmp_path):
    found = bypass(subject(broken(trained()).eval(), tmp_path))
    (flag,) = found.flags
    assert flag.code == "bypass"
    assert flag.kind.broken
    assert flag.value > 0.2
    assert min(found.numbers.values()) < found.numbers["through"] - 0.2


@pytest.mark.parametrize("sound", [Around, Centred, Dropping, Halved])
@pytest.mark.parametrize("defense", ["standard[epochs=10]", "pgd_at[epochs=10]"])
def test_sound_models_are_not(sound, defense, tmp_path):
    assert bypass(subject(sound(trained(defense)).eval(), tmp_path)).flags == []


def test_a_network_with_nothing_around_it_is_not_attacked():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    batch = Batch(torch.rand(8, 1, 2, 2), torch.zeros(8, dtype=torch.int64))
    asked = bare_subject(model, batch, 0.1)
    assert bypass(asked).skipped
    assert asked.meter.forwards == 0
