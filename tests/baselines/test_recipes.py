"""Options of training that a recipe sets: views, averages, early stopping, and the log."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch
from torch import nn

from attacks.build import build_attack, strengths_of
from baselines.build import build_defense, recipes, with_recipe
from baselines.training import resumable_progress as courses
from baselines.training.augmentation import augmented
from baselines.training.final_weights import FinalWeights, hold_out
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, train
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.schedule import Schedule, follow_cosine
from benchmark.contracts.defense_probe import network_for
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.core.types import Batch, Split
from benchmark.data import load
from benchmark.evaluation.verdicts import correct, state_hash
from benchmark.identity.fingerprint import options_of_instance

STRENGTHS = strengths_of("digits")


def split(n=150):
    return load.load("digits", None, False, 0).train.first(n)


def fit(text, n=150, progress=None):
    _, defense = build_defense(text)
    progress = progress or (lambda share: None)
    return defense.fit(network_for("digits"), split(n), STRENGTHS, progress, stream("recipe"))


# Named in one file.


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_is_one_of_options_that_are_there(recipe):
    for defense in recipes()[recipe]:
        label, built = build_defense(f"{defense}[recipe={recipe}]")
        assert label == f"{defense}[recipe={recipe}]" and built.name == defense


def test_a_recipe_is_the_options_it_stands_for():
    options = ",".join(f"{key}={value}" for key, value in recipes()["mnist"]["pgd_at"].items())
    assert build_defense("pgd_at[recipe=mnist]")[1] == build_defense(f"pgd_at[{options}]")[1]


def test_what_is_said_beside_a_recipe_goes_before_it():
    assert build_defense("pgd_at[recipe=mnist,epochs=3]")[1].epochs == 3


def test_other_specs_stay_as_they_are():
    spec = Spec.parse("pgd_at[epochs=3]")
    assert with_recipe(spec) is spec


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pgd_at[recipe=mnits]", "did you mean mnist"),
        ("standard[recipe=mnist]", "recipe mnist has nothing for standard, only for pgd_at"),
        ("pgd_at[augment=crop+spin]", "augmentation"),
        ("pgd_at[optimizer=lion]", "expected one of adam, sgd"),
        ("pgd_at[average=1]", "average below 1"),
        ("pgd_at[early_stopping=-1]", "expected at least 0"),
    ],
)
def test_what_no_recipe_can_be_is_one_line(text, said):
    with pytest.raises(UsageError, match=said):
        build_defense(text)


def test_an_option_that_was_added_later_changes_no_identity_until_it_is_used():
    plain, used = (build_defense(text)[1] for text in ("pgd_at", "pgd_at[augment=flip]"))
    assert "augment" not in options_of_instance(plain)
    assert options_of_instance(used) == options_of_instance(plain) | {"augment": "flip"}


# Views.


def images(n=64, channels=3, height=16, width=24):
    return torch.rand(n, channels, height, width, generator=stream("views"))


def test_each_crop_is_a_window_of_the_image_with_black_around_it():
    batch = Batch(images(), torch.zeros(64, dtype=torch.int64))
    cropped = augmented(batch, "crop", stream("crop")).images
    found = set()
    for image, window in zip(batch.images, cropped, strict=True):
        padded = nn.functional.pad(image, (3, 3, 2, 2))
        places = [
            (top, left)
            for top in range(5) for left in range(7)
            if torch.equal(padded[:, top : top + 16, left : left + 24], window)
        ]  # fmt: skip
        assert len(places) == 1
        found.update(places)
    assert len(found) > 20, "each by itself"


def test_about_half_of_the_images_are_mirrored():
    batch = Batch(images(), torch.zeros(64, dtype=torch.int64))
    flipped = augmented(batch, "flip", stream("flip")).images
    kinds = [
        torch.equal(one, other.flip(2)) if not torch.equal(one, other) else None
        for one, other in zip(flipped, batch.images, strict=True)
    ]
    assert 16 < kinds.count(True) < 48 and kinds.count(False) == 0


def test_without_views_nothing_is_drawn_and_nothing_changes():
    batch, rng = Batch(images(), torch.zeros(64, dtype=torch.int64)), stream("none")
    before = rng.get_state()
    assert augmented(batch, "", rng).images is batch.images
    assert torch.equal(rng.get_state(), before)


# Rates.


def test_the_rate_grows_and_then_follows_the_cosine():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.2)
    rates = []
    for share in (0.0, 0.1, 0.2, 0.6, 1.0):
        follow_cosine(optimizer, share, warmup=0.2)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.2 * (1 + math.cos(math.pi / 2)) / 2, 0.0])


def test_sgd_is_that_of_torch():
    ours, plain = network_for("digits"), network_for("digits").train()
    schedule = Schedule(1, 0.05, 150, optimizer="sgd", weight_decay=1e-3)
    train(ours, split(), classification_loss, schedule, Ledger(), lambda s: None, stream("sgd"))
    optimizer = torch.optim.SGD(
        plain.parameters(), 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True
    )
    classification_loss(plain, split().batch()).backward()
    optimizer.step()
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


# What training ends with.


def test_the_average_is_that_of_its_formula():
    model = nn.Linear(1, 1)
    final = FinalWeights(model, 0.9, None)
    expected = None
    for value in (1.0, 3.0, -2.0):
        with torch.no_grad():
            model.weight.fill_(value)
        final.update()
        expected = value if expected is None else 0.9 * expected + 0.1 * value
    final.finish()
    assert model.weight.item() == pytest.approx(expected)


def test_the_epoch_of_the_highest_robust_accuracy_is_kept():
    """After two good epochs a loss that undoes everything."""
    model, ledger, data = network_for("digits"), Ledger(), split(400)
    seen = []

    def loss(network, batch):
        seen.append(len(batch.labels))
        sign = 1 if len(seen) <= 14 else -1
        return sign * classification_loss(network, batch).clamp(max=20)

    attack = build_attack("fgsm", STRENGTHS)
    schedule = Schedule(4, 3e-3, 50, early_stopping=50)
    train(model, data, loss, schedule, ledger, lambda s: None, stream("stop"), (attack,))
    assert len(seen) == 4 * 7, "50 images are not trained on"
    trained, held = hold_out(data, 50)
    assert not set(trained.ids.tolist()) & set(held.ids.tolist())
    assert len(trained) + len(held) == 400
    assert correct(model.eval(), held.batch()).float().mean() > 0.7


def test_early_stopping_looks_at_pgd_whatever_trains_in_linf():
    def names(text):
        return [attack.name for attack in build_defense(text)[1].watched(STRENGTHS)]

    assert names("fgsm_rs") == names("pgd_at") == names("trades") == ["pgd_linf"]
    assert names("multi_at[attacks=pgd_linf+pgd_l2]") == ["pgd_linf", "pgd_l2"]
    assert names("standard") == []


def test_in_bfloat16_weights_stay_float32_and_learn_the_same():
    exact, fast = fit("standard[epochs=10]"), fit("standard[epochs=10,precision=bfloat16]")
    assert {tensor.dtype for tensor in fast.model.parameters()} == {torch.float32}
    shown = load.load("digits", None, False, 0).validation.first(200).batch()
    accuracies = [float(correct(one.model, shown).float().mean()) for one in (exact, fast)]
    assert abs(accuracies[0] - accuracies[1]) < 0.05
    assert state_hash(exact.model) != state_hash(fast.model)


def test_what_early_stopping_costs_is_booked():
    alone, watched = (
        fit(f"pgd_at[epochs=2,attack_steps=2,early_stopping={n}]").cost.passes for n in (0, 30)
    )
    trained = alone * 120 / 150
    assert trained < watched < trained + 2 * 30 * (1 + 2 * 11)


# The log.


def test_pandas_reads_the_log(tmp_path):
    progress = ResumableProgress(lambda share: None, tmp_path / "model.training.safetensors")
    fit("pgd_at[epochs=4,attack_steps=2,early_stopping=30]", progress=progress)
    log = pd.read_csv(tmp_path / "model.training.csv")
    assert list(log.step) == [1, 2, 3, 4]
    assert (log.updates == [2, 4, 6, 8]).all() and log.passes.is_monotonic_increasing
    assert log.loss.between(0, 10).all() and log.robust.between(0, 1).all()
    assert log.lr.is_monotonic_decreasing


def test_meta_training_has_a_row_for_each_iteration(tmp_path):
    text = "meta_adv[warmup_epochs=2,iterations=3,tasks=1,shots=1,query=1,attack_steps=2]"
    progress = ResumableProgress(lambda share: None, tmp_path / "model.training.safetensors")
    fit(text, progress=progress)
    assert len(pd.read_csv(tmp_path / "model.warm-up.csv")) == 2
    log = pd.read_csv(tmp_path / "model.meta-training.csv")
    assert list(log.step) == [1, 2, 3] and log.robust.isna().all()


def test_a_log_that_is_taken_up_again_has_each_epoch_once(tmp_path, monkeypatch):
    monkeypatch.setattr(courses, "EVERY", 0.0)
    path = tmp_path / "model.training.safetensors"

    class Stopped(Exception):
        pass

    def stop(share):
        if share > 0.5:
            raise Stopped

    with pytest.raises(Stopped):
        fit("pgd_at[epochs=4,attack_steps=2]", progress=ResumableProgress(stop, path))
    fit("pgd_at[epochs=4,attack_steps=2]", progress=ResumableProgress(lambda share: None, path))
    assert list(pd.read_csv(tmp_path / "model.training.csv").step) == [1, 2, 3, 4]


def test_a_group_of_classes_that_cannot_be_held_out_is_refused():
    few = Split(torch.rand(3, 1, 8, 8), torch.tensor([0, 1, 2]), torch.arange(3))
    with pytest.raises(UsageError, match="early_stopping=3"):
        hold_out(few, 3)
