"""Sound models of odd construction are evaluated like their plain twin, verdict for verdict."""

from __future__ import annotations

import pytest
import torch
from planted_models import fitted
from tiny_runs import prepare, run, table, tiny_plan
from torch import nn

from baselines.build import GivenModel
from benchmark.core.errors import UsageError

ATTACKS = "fgsm,pgd_linf[steps=3],pgd_l2[steps=3],aa_square[queries=20]"


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


@pytest.fixture(scope="module")
def net():
    return fitted(network)


class Plain(nn.Module):
    """The twin of all others, which answer and learn as it does."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(images)


class KeepsFeatures(Plain):
    def forward(self, images):
        self.features = [self.net[:3](images)]
        return self.net[3](self.features[0])


class KeepsLosses(Plain):
    """Of every pass, gradients and all."""

    past: list = []

    def forward(self, images):
        logits = super().forward(images)
        self.past = [*self.past[-2:], logits.logsumexp(dim=1).mean()]
        return logits


class Names(Plain):
    """Attributes that a protocol could be mistaken for."""

    def __init__(self, net):
        super().__init__(net)
        self.exact = self.gate = self.fast = "a word"
        self.owner = self.judge = self.parameters_of_all = None
        self.take = lambda rows: None


class NamedBuffers(Plain):
    def __init__(self, net):
        super().__init__(net)
        for name in ("take", "exact", "gate", "owner", "model", "judge"):
            self.register_buffer(name, torch.zeros(1))


class Writes(Plain):
    """To the images it is handed."""

    def forward(self, images):
        flat = images.flatten(1)
        logits = self.net(flat.clone())
        with torch.no_grad():
            images.fill_(0.5)
        return logits


class AddsInPlace(Plain):
    def forward(self, images):
        return self.net(images.mul_(2).div_(2))


class ReturnsNothing(Plain):
    def train(self, mode=True):
        super().train(mode)

    def eval(self):
        self.train(False)

    def requires_grad_(self, requires_grad=True):
        super().requires_grad_(requires_grad)

    def to(self, *where, **how):
        super().to(*where, **how)

    def cpu(self):
        super().cpu()


class ExtraState(Plain):
    def get_extra_state(self):
        return {"version": 2, "scale": torch.ones(1)}

    def set_extra_state(self, state):
        assert state["version"] == 2


class OneStep(torch.autograd.Function):
    """A rectifier whose way back no batching rule covers."""

    @staticmethod
    def forward(ctx, hidden):
        ctx.save_for_backward(hidden)
        return hidden.relu()

    @staticmethod
    def backward(ctx, gradient):
        (hidden,) = ctx.saved_tensors
        return gradient * (hidden > 0)


class OwnFunction(Plain):
    def forward(self, images):
        return self.net[3](OneStep.apply(self.net[1](images.flatten(1))))


class Branches(Plain):
    def forward(self, images):
        return self.net(images) if images.sum().item() >= 0 else None


class StateDictOfItsOwn(Plain):
    def state_dict(self, *args, **kwargs):
        return super().state_dict(*args, **kwargs) | {"about": "a word"}

    def load_state_dict(self, *_args, **_kwargs):
        raise RuntimeError("not by anybody else")


class Locked(KeepsFeatures):
    def __init__(self, net):
        super().__init__(net)
        self.generator = (number for number in range(3))


ODD = (
    KeepsFeatures, KeepsLosses, Names, NamedBuffers, Writes, AddsInPlace, ReturnsNothing,
    ExtraState, OwnFunction, Branches, StateDictOfItsOwn, Locked, nn.DataParallel,
)  # fmt: skip


def outcomes(model, folder, attacks=ATTACKS, **values):
    plan = tiny_plan(attacks, {"standard": GivenModel("own.py", lambda: model)}, **values)
    found = run(plan, folder).records
    assert [record.reason for record in found if record.status != "done"] == []
    tables = ("clean_before", "before", "clean", "static", "reattacked")
    return {
        (record.cell.attack, record.cell.budget.shots): [
            table(getattr(record.outcome, name)).tolist() for name in tables
        ]
        for record in found
    }, sorted({flag for record in found for flag in record.flags})


@pytest.fixture(scope="module")
def expected(net, tmp_path_factory):
    return outcomes(Plain(net), tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_model_gets_the_verdicts_of_its_plain_twin(kind, net, expected, tmp_path):
    found, flags = outcomes(kind(net), tmp_path)
    assert flags == expected[1] == []
    assert found == expected[0]


class Twice(nn.Module):
    """One layer under two names; `apart` holds two, whose weights are one."""

    def __init__(self, apart=False):
        super().__init__()
        self.first, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        self.second = nn.Linear(64, 64) if apart else self.first
        self.second.weight, self.second.bias = self.first.weight, self.first.bias

    def forward(self, images):
        return self.head(self.second(self.first(images.flatten(1)).relu()).relu())


def test_a_module_of_two_names_is_evaluated_like_tied_weights(tmp_path):
    once = fitted(Twice)
    tied = Twice(apart=True)
    tied.load_state_dict(once.state_dict())
    assert outcomes(once, tmp_path / "once") == outcomes(tied.eval(), tmp_path / "tied")


# What cannot be done is skipped with its reason, and the rest is done.


class NoGradient(Plain):
    def forward(self, images):
        return torch.tensor(self.net(images).detach().numpy())


class NoSlopeInImages(Plain):
    def forward(self, images):
        return self.net(images.detach())


@pytest.mark.parametrize("kind", [NoGradient, NoSlopeInImages])
def test_a_model_without_gradients_is_attacked_by_queries_alone(kind, net, tmp_path):
    attacks = "fgsm,deepfool,jsma[eps=4],aa_linf,aa_square[queries=20],uniform_noise"
    plan = tiny_plan(attacks, {"standard": GivenModel("own.py", lambda: kind(net))})
    for record in run(plan, tmp_path).records:
        queries = record.cell.attack.startswith(("aa_square", "uniform"))
        learns = kind is NoSlopeInImages or not record.cell.budget.adapts
        assert record.status == ("done" if queries and learns else "skipped")
        if not queries:
            assert record.reason == "the model gives no gradient"
        elif not learns:
            assert record.reason.endswith("no gradient: nothing can adapt")
        assert record.flags[0].startswith("no gradient")


def test_no_parameters_no_adaptation(tmp_path):
    class Template(nn.Module):
        def forward(self, images):
            return images.flatten(1)[:, 20:30]

    plan = tiny_plan("fgsm", {"standard": GivenModel("own.py", Template)})
    plain, adapted = run(plan, tmp_path).records
    assert (plain.status, adapted.status) == ("done", "skipped")
    assert adapted.reason == "the model has no parameters for adaptation method finetune"


# Answers that are none, before anything runs.


@pytest.mark.parametrize("executor", ["here", "processes"])
def test_answers_that_are_no_logits_end_the_run_before_it_begins(executor, net, tmp_path):
    class Table(Plain):
        def forward(self, images):
            return {"logits": self.net(images)}

    own = GivenModel("own.py", lambda: Table(net))
    plan = tiny_plan("fgsm", {"standard": own, "pgd_at": own})
    prepared = prepare(plan, tmp_path, executor=executor)
    with pytest.raises(UsageError, match=r"^standard: .*got a dict; return"):
        prepared.run()
    assert not list(tmp_path.rglob("*.json"))


# Gradients that are not finite: the reason names the model, not the attack.


def test_an_attack_led_astray_names_the_model(net, tmp_path):
    class Roots(Plain):
        def forward(self, images):
            return self.net(images.sqrt().square())

    plan = tiny_plan("pgd_l2[steps=3]", {"standard": GivenModel("own.py", lambda: Roots(net))})
    for record in run(plan, tmp_path).records:
        assert record.status == "failed"
        assert record.reason.startswith("the model's gradients are not finite on ")
        assert record.flags[0].startswith("gradients not finite")
        assert record.reason.endswith("; the model is flagged: gradients not finite")
