"""The head is the layer whose output are the logits, wherever it is registered."""

from __future__ import annotations

import pytest
import torch
from planted_models import fitted
from test_odd_models import network, outcomes
from tiny_runs import run, tiny_plan
from torch import nn

from baselines.build import GivenModel
from benchmark.protocol import group as runner


@pytest.fixture(scope="module")
def net():
    return fitted(network)


class HeadFirst(nn.Module):
    """Registered before the body, followed by a scale; beside a head that is not used."""

    def __init__(self, net):
        super().__init__()
        self.head, self.scale = net[3], nn.Parameter(torch.ones(()))
        self.body, self.unused = net[1], nn.Linear(32, 10)

    def forward(self, images):
        hidden = self.body(images.flatten(1)).relu()
        logits = self.head(hidden)
        self.unused(hidden)
        return logits * self.scale


class Convolution(HeadFirst):
    def __init__(self, net):
        super().__init__(net)
        self.head = nn.Conv2d(32, 10, 1)
        self.head.weight.data, self.head.bias.data = net[3].weight[:, :, None, None], net[3].bias

    def forward(self, images):
        hidden = self.body(images.flatten(1)).relu()
        return self.head(hidden[:, :, None, None]).flatten(1).log_softmax(dim=1)


@pytest.mark.parametrize("kind", [HeadFirst, Convolution])
@pytest.mark.parametrize("knowledge", ["captured", "simulated"])
def test_the_head_adapts_wherever_it_is_registered(kind, knowledge, net, tmp_path, monkeypatch):
    moved = []

    def look(cell, adapted, inputs):
        moved.extend(set(one.parameters) for one in adapted)
        return genuine(cell, adapted, inputs)

    genuine = runner.check_adaptation
    monkeypatch.setattr(runner, "check_adaptation", look)
    with torch.no_grad():
        model = kind(net)
    outcomes(model, tmp_path, "fgsm", methods=["head"], shots=[1], knowledge=[knowledge])
    assert moved == [{"head.weight", "head.bias"}] * 2


def test_a_head_that_is_none_is_not_adapted(net, tmp_path):
    class TwoHeads(HeadFirst):
        def forward(self, images):
            hidden = self.body(images.flatten(1)).relu()
            return self.head(hidden) + self.unused(hidden)

    model = TwoHeads(net)
    plan = tiny_plan(
        "fgsm", {"standard": GivenModel("own.py", lambda: model)}, methods=["head"], shots=[1]
    )
    (record,) = run(plan, tmp_path).records
    assert record.status == "skipped"
    assert record.reason == "the model has no parameters for adaptation method head"
