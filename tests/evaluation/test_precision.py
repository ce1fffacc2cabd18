"""bfloat16 only where attacks search: what counts as broken is seen in float32."""

import pytest
import torch
from attack_tasks import dealt
from tiny_runs import prepare, tiny_plan
from torch import nn

from attacks.gradient import PGDLinf
from baselines.networks.zoo import build_network
from benchmark.core.errors import UsageError
from benchmark.core.model_access import float32_model
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation import precision
from benchmark.evaluation.precision import check_precision, difference, in_precision
from benchmark.evaluation.verdicts import Meter, correct, frozen, metered, state_hash, survives


@pytest.fixture(scope="module")
def task():
    model = frozen(build_network("small_cnn", (1, 8, 8), 10, stream("bf16")))
    images = torch.rand(80, 1, 8, 8, generator=stream("images"))
    return model, Batch(images, model(images).argmax(dim=1))


def test_the_network_runs_in_bfloat16_and_answers_in_float32(task):
    model, batch = task
    seen = []
    quick = in_precision(model, "bfloat16")
    quick.fast.network.head.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    logits = quick(batch.images)
    assert seen == [torch.bfloat16] and logits.dtype == torch.float32
    apart = (logits - model(batch.images)).abs().max()
    assert 0 < apart < 0.05
    assert in_precision(model, "float32") is model and float32_model(quick) is model


def test_the_model_itself_is_untouched(task):
    model, _ = task
    before = state_hash(model)
    in_precision(model, "bfloat16")
    assert state_hash(model) == before
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_perturbations_stay_in_the_ball_and_success_is_real(task):
    """bfloat16 images would leave it: 1/256 is the distance of its numbers near 1."""
    model, batch = task
    meter = Meter()
    attack = PGDLinf(0.01, steps=10)
    verdicts, attacked = survives(
        attack, in_precision(model, "bfloat16"), batch, meter, dealt(batch.labels)
    )
    assert attacked.images.dtype == torch.float32
    assert (attacked.images - batch.images).abs().max() <= 0.01 + 1e-6
    assert torch.equal(verdicts, correct(model, Batch(attacked.images, batch.labels)))
    assert 0 < int(verdicts.sum()) < 80
    exactly, _ = survives(attack, model, batch, Meter(), dealt(batch.labels))
    assert int((verdicts != exactly).sum()) <= 4


class Rounding(nn.Module):
    """Says 0 for every image in bfloat16, which cannot hold what float32 sees."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2, bias=False)
        self.layer.weight.data = torch.tensor([[1.0], [1.001]])

    def forward(self, images):
        return self.layer(images.flatten(1).mean(dim=1, keepdim=True))


def test_a_success_that_float32_does_not_see_does_not_count():
    model = frozen(Rounding())
    batch = Batch(torch.full((5, 1, 2, 2), 0.5), torch.ones(5, dtype=torch.int64))
    quick = in_precision(model, "bfloat16")
    assert not correct(quick, batch).any(), "in bfloat16 all are wrong without an attack"
    verdicts, _ = survives(PGDLinf(0.01, steps=3), quick, batch, Meter(), dealt(batch.labels))
    assert verdicts.all()


def test_confirming_passes_are_counted():
    model = frozen(Rounding())
    batch, meter = Batch(torch.full((5, 1, 2, 2), 0.5), torch.ones(5, dtype=torch.int64)), Meter()
    with metered(in_precision(model, "bfloat16"), meter):
        pass
    PGDLinf(0.01, steps=3)
    survives(PGDLinf(0.01, steps=3), in_precision(model, "bfloat16"), batch, meter, dealt(range(5)))
    assert meter.forwards == 2 * 5 * 4, "each claim of each iterate was looked at again"


def test_the_audit_says_how_far_it_is_from_float32(task):
    model, batch = task
    (flag,) = difference(in_precision(model, "bfloat16"), batch)
    assert "bfloat16 passes: logits within" in flag and "of 80 predictions" in flag
    assert difference(model, batch) == []


def test_records_say_so_and_are_stale_for_the_other(tmp_path):
    plan = tiny_plan()
    for name, status in (("float32", "done"), ("bfloat16", "done"), ("bfloat16", "cached")):
        prepared = prepare(plan, tmp_path, precision=name)
        assert prepared.run() == {status: 2}
        flags = prepared.model(plan.cells[0]).flags
        assert any("bfloat16" in flag for flag in flags) == (name == "bfloat16")


def test_what_is_no_precision_or_not_here_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="bfloat16"):
        check_precision("bfloat61", "cpu")
    monkeypatch.setattr(precision, "_has_bfloat16", lambda device: False)
    with pytest.raises(UsageError, match=r"no bfloat16 arithmetic.*leave the flag out"):
        check_precision("bfloat16", "cpu")
    check_precision("float32", "cpu")
