"""Attacks that know more than the model: surrogates and images of the attacker's own."""

import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from tiny_runs import run, tiny_plan

from attacks.transfer import TransferMomentum, TransferPGD, TransferPGDL2, TransferPGDOther
from attacks.universal import Universal
from benchmark import evaluate
from benchmark.core.errors import UsageError
from benchmark.core.types import AttackerKnowledge, Batch

LINF = [TransferPGD, TransferPGDOther, TransferMomentum]


def task(count=24):
    batch = images(count) * 0.6 + 0.2
    model = linear((1, 8, 8), 2)
    return model, batch, model(batch).argmax(dim=1)


def surrogate_of(model):
    """It answers like the model, but with other logits."""
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    with torch.no_grad():
        other[1].weight.copy_(3 * model[1].weight)
        other[1].bias.copy_(3 * model[1].bias)
    return other.eval().requires_grad_(False)


def knowing(attack, model, batch, labels):
    return attack.knowing(
        AttackerKnowledge(Batch(batch, labels), (model,) * len(attack.surrogates))
    )


class Forbidden(torch.nn.Module):
    def forward(self, images):
        raise AssertionError("the target was asked")


@pytest.mark.parametrize("kind", LINF)
def test_on_a_linear_surrogate_the_optimum_is_found_and_the_target_never_asked(kind):
    model, batch, labels = task()
    attack = knowing(kind(eps=0.1), surrogate_of(model), batch, labels)
    found = attack.perturb(Forbidden(), batch, labels, "verdict", dealt(labels, 0))
    slope = (model[1].weight[1 - labels] - model[1].weight[labels]).view_as(batch)
    assert torch.allclose(found, batch + 0.1 * slope.sign(), atol=1e-6)


def test_in_l2_too():
    model, batch, labels = task()
    attack = knowing(TransferPGDL2(eps=0.5), surrogate_of(model), batch, labels)
    found = attack.perturb(Forbidden(), batch, labels, "examples", dealt(labels, 0))
    slope = model[1].weight[1 - labels] - model[1].weight[labels]
    gained = ((found - batch).flatten(1) * slope).sum(dim=1)
    assert (gained >= 0.97 * 0.5 * slope.norm(dim=1)).all()


def test_an_ensemble_climbs_the_mean_of_its_logits():
    model, batch, labels = task()
    opposite = linear((1, 8, 8), 2)
    with torch.no_grad():
        opposite[1].weight.copy_(-0.5 * model[1].weight)
    attack = TransferMomentum(eps=0.1).knowing(
        AttackerKnowledge(Batch(batch, labels), (model, opposite))
    )
    found = attack.perturb(Forbidden(), batch, labels, "examples", dealt(labels, 0))
    slope = (model[1].weight[1 - labels] - model[1].weight[labels]).view_as(batch)
    assert torch.allclose(found, batch + 0.1 * slope.sign(), atol=1e-6)


def test_a_universal_perturbation_is_the_same_for_all_and_best_for_one_class():
    """Of a linear model and images of one class the best one is known."""
    model, batch, labels = task()
    rows = labels == labels[0]
    batch, labels = batch[rows], labels[rows]
    attack = knowing(Universal(eps=0.1), model, batch, labels)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    slope = (model[1].weight[1 - labels[0]] - model[1].weight[labels[0]]).view(1, 1, 8, 8)
    assert torch.allclose(found, batch + 0.1 * slope.sign(), atol=1e-6)


def test_a_universal_perturbation_is_learned_from_own_images_alone():
    model, batch, labels = task()
    attack = knowing(Universal(eps=0.1), model, batch[:6], labels[:6])
    whole = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    some = attack.perturb(model, batch[7:9], labels[7:9], "examples", dealt(labels[7:9], 3))
    assert torch.equal(whole[7:9], some)
    rows = (labels == labels[0], labels != labels[0])
    found = [
        knowing(Universal(eps=0.1), model, batch[own], labels[own]).learned(model, batch)
        for own in rows
    ]
    assert torch.allclose(*(found[0], -found[1]), atol=1e-6)


@pytest.mark.parametrize("kind", [*LINF, TransferPGDL2, Universal])
def test_without_knowledge_it_says_so(kind):
    model, batch, labels = task(2)
    with pytest.raises(UsageError, match="nobody can train against it"):
        kind(eps=0.1).perturb(model, batch, labels, "examples", dealt(labels, 0))
    with pytest.raises(UsageError):
        kind(eps=-0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    plan = tiny_plan("transfer_pgd, transfer_pgd_other, universal[own_images=40], pgd_linf")
    return run(plan, tmp_path_factory.mktemp("transfer"))


def test_a_run_trains_the_surrogates_itself_with_another_seed(finished):
    assert {record.status for record in finished.records} == {"done"}
    models = finished.prepared.settings.results / "models"
    names = sorted(path.name for path in models.glob("*.safetensors"))
    assert sum("-s10000-" in name for name in names) == 2
    assert any(name.startswith("digits-medium_cnn-standard-epochs-40") for name in names)


def test_what_the_attacker_knows_is_part_of_a_record(finished):
    prints = {record.cell.attack: record.fingerprint.get("attacker") for record in finished.records}
    assert prints["pgd_linf"] is None
    known = [value for name, value in prints.items() if name != "pgd_linf"]
    assert len(set(known)) == 3 and all(known)


def test_surrogates_are_found_again(finished):
    again = finished.prepared.run()
    assert again["cached"] == len(finished.records)


def test_scored_images_are_never_the_attackers_own():
    """Tensors alone have no training part: what would learn from it is skipped with the reason."""
    model, batch, labels = task(12)
    attacks = "transfer_pgd,universal,fgsm"
    frame = evaluate(model, images=batch, labels=labels, attacks=attacks).frame
    found = frame.set_index("attack")
    assert found.loc["fgsm", "status"] == "done"
    for name in ("transfer_pgd", "universal"):
        assert found.loc[name, "status"] == "skipped"
        assert "no training images" in found.loc[name, "reason"]
