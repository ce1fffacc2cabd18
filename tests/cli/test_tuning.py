"""Settings are chosen on validation images alone, and what was chosen says so ever after."""

from __future__ import annotations

import json

import pytest
import torch
from own_models import Team, fill_with, same
from tiny_runs import prepare, run, tiny_plan
from tuned_choice import CHOICE, DEFENSE

from benchmark.cli.tuning import VALIDATION, Grid, Trial, choose, doubts, overlap, tuning_plan
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.data import load, splits
from benchmark.plan.request import Suite, make_request, read_suite
from benchmark.plan.tuned import read_choices, write_choices
from benchmark.results.store import read_records
from reports.tidy.frame import from_records

# The images.


@pytest.fixture(scope="module")
def digits():
    return load.load("digits", None, False, 0)


def test_validation_images_are_cut_in_two_and_no_test_image_is_among_them(digits):
    halves = splits.for_choosing(digits)
    shown, scored = (set(split.ids.tolist()) for split in (halves.validation, halves.test))
    assert not shown & scored
    assert shown | scored == set(digits.validation.ids.tolist())
    assert not (shown | scored) & set(digits.test.ids.tolist())
    counts = halves.validation.labels.bincount()
    assert set(counts.tolist()) == {int(digits.validation.labels.bincount().min()) // 2}
    assert halves.test.ids.tolist() == [i for i in digits.validation.ids.tolist() if i in scored]
    assert torch.equal(halves.train.ids, digits.train.ids)


def test_a_class_with_one_validation_image_is_refused(digits):
    labels = digits.validation.labels
    keep = torch.cat([(labels != 3).nonzero().flatten(), (labels == 3).nonzero().flatten()[:1]])
    few = splits.replace(digits, validation=digits.validation.take(keep))
    with pytest.raises(UsageError, match="digits has a class with less than 2 validation images"):
        splits.for_choosing(few)


def test_too_many_shots_for_half_of_the_validation_images(command, tmp_path):
    words = ["--defense", DEFENSE, "--attacks", "fgsm", "--dry-run", "--results", tmp_path]
    assert command("tune", *words, "--shots", 20).code == 0
    command("tune", *words, "--shots", 21).refused(
        "--shots 21: digits has 20 validation images per class to show beside those that are scored"
    )


def test_validation_cells_show_and_score_validation_images_alone(tmp_path, digits):
    plan = tiny_plan("fgsm", split="validation", shots=[0, 3], limit=1000)
    prepared, cell = prepare(plan, tmp_path), plan.cells[1]
    validation = set(digits.validation.ids.tolist())
    assert set(prepared.dataset(cell).test.ids.tolist()) < validation
    for episode in range(2):
        shown = prepared.support(cell, episode).ids.tolist()
        assert set(shown) < validation - set(prepared.dataset(cell).test.ids.tolist())
    half = splits.for_choosing(digits).validation
    rng = stream("support", "digits", 0, 1)
    assert shown == splits.draw_support(half, 3, 10, rng).ids.tolist()
    assert len(prepared.query(cell).labels) == len(prepared.dataset(cell).test)


def test_the_trained_model_is_that_of_test_cells(tmp_path):
    test = run(tiny_plan("fgsm", shots=[0]), tmp_path)
    validation = run(tiny_plan("fgsm", shots=[0], split="validation"), tmp_path)
    assert not validation.log.trained
    one, other = test.records[0], validation.records[0]
    assert one.fingerprint["weights"] == other.fingerprint["weights"]
    assert one.query != other.query, "their verdicts never pair"


def test_several_processes_give_the_records_of_one(tmp_path):
    what = {"attacks": "fgsm,fgm_l2", "shots": [0, 1], "split": "validation", "limit": 1000}
    here, there = (
        fill_with(team, tmp_path / team.executor, **what)
        for team in (Team("here"), Team("processes", 2))
    )
    assert same(here) == same(there)
    assert {record.query for record in here.records} == {record.query for record in there.records}


# The choice.


def tried(robust, drop=0.0, steps=1, lr=0.1, clean=0.9):
    return Trial("d", "head", steps, lr, robust, (0.0, 1.0), clean, 0.3, drop)


def test_the_most_robust_wins_among_those_that_cost_little():
    some = [tried(0.5), tried(0.7, drop=0.02), tried(0.6, drop=0.01)]
    assert choose(some, 0.01) == some[2]
    assert choose(some, 0.02) == some[1]
    assert choose(some, 0.0) == some[0]
    assert choose(some[1:], 0.0) is None
    assert choose([], 1.0) is None


def test_of_equals_the_cleaner_then_the_cheaper_then_the_smaller_steps():
    some = [tried(0.5, steps=5), tried(0.5, clean=0.95, steps=9), tried(0.5, steps=1),
            tried(0.5, steps=1, lr=0.01)]  # fmt: skip
    assert choose(some, 0.1) == some[1]
    assert choose([some[0], some[2], some[3]], 0.1) == some[3]


def test_every_setting_is_planned_on_validation_images_with_the_trained_model_once():
    request = make_request({"shots": [1], "methods": ["head", "learned"], "attacks": "fgsm"})
    plan = tuning_plan(
        request, Suite(description="", defenses=DEFENSE), Grid([1, 5], [0.1, 0.2], 0)
    )
    assert {cell.split for cell in plan.cells} == {"validation"}
    assert [str(cell.budget) for cell in plan.cells].count("k00") == 1
    adapting = [cell.budget for cell in plan.cells if cell.budget.adapts]
    assert len(adapting) == 2 * 2 + 2, "learned step sizes need no rate"


def test_validation_attacks_of_a_suite_are_of_families_it_neither_trains_on_nor_scores():
    suite = read_suite("unseen")
    plan = tuning_plan(
        make_request({"shots": [1], "methods": ["head"]}), suite, Grid([1], [0.1], 0)
    )
    families = {attack.family for attack in plan.attacks.values()}
    assert families == {"score-based"}
    assert overlap(plan, suite) == []
    assert "pgd_at" in plan.defenses


def test_overlap_is_said():
    suite = Suite(description="", attacks="fgsm,square")
    request = make_request({"shots": [1], "methods": ["head"], "attacks": "square[queries=9],jsma"})
    (line,) = overlap(tuning_plan(request, suite, Grid([1], [0.1], 0)), suite)
    assert "the attacks square and the families score-based" in line


def test_default_attacks_are_of_one_family_and_two_norms():
    asked = make_request({"shots": [1], "methods": ["head"]})
    found = tuning_plan(asked, read_suite("main"), Grid([1], [0.1], 0)).attacks
    assert ", ".join(found) == VALIDATION
    assert [(one.family, one.norm) for one in found.values()] == [
        ("score-based", "linf"), ("score-based", "l2")
    ]  # fmt: skip


def test_doubts_about_a_choice_are_said():
    some = [tried(0.6, steps=5, lr=0.1), tried(0.5, steps=1, lr=0.1)]
    some = [one._replace(defense=DEFENSE) for one in some]
    chosen = CHOICE.model_copy(update={"steps": 5, "lr": 0.1})
    assert doubts(chosen, some) == "; steps is the largest tried"
    assert doubts(chosen.model_copy(update={"steps": 1}), some) == ""
    useless = chosen.model_copy(update={"steps": 1, "before": 0.5})
    assert doubts(useless, some) == "; not adapting is at least as robust"


# The command.


SMALL = ["--shots", 1, "--episodes", 1, "--limit", 30, "--jobs", 1, "--steps-grid", "1,8"]
WORDS = ["--defense", DEFENSE, "--attacks", "fgsm,fgm_l2", "--methods", "head,finetune"]


@pytest.fixture(scope="module")
def tuned_once(tmp_path_factory):
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture
def tuned(tuned_once, command):
    """The folder of one small choice; what is printed is kept beside it."""
    if not (tuned_once / "out.json").exists():
        words = [*WORDS, *SMALL, "--lr-grid", "0.05", "--max-clean-drop", 100, "--json"]
        done = command("tune", *words, "--results", tuned_once)
        assert done.code == 0, done.err
        (tuned_once / "out.json").write_text(done.out)
    return tuned_once


def test_what_is_chosen_is_the_best_of_what_was_scored(tuned):
    said = json.loads((tuned / "out.json").read_text())
    (choice,) = said["choices"]
    assert len(said["tried"]) == choice["candidates"] == 4
    assert choice["robust"] == max(one["robust"] for one in said["tried"])
    records = read_records(tuned).records
    assert len(records) == 2 * (1 + 4)
    assert {record.cell.split for record in records} == {"validation"}
    assert from_records(records).empty, "no report shows them"
    best = [
        record for record in records
        if (record.cell.budget.method, record.cell.budget.steps)
        == (choice["method"], choice["steps"])
    ]  # fmt: skip
    held = [(one.outcome.static.unpack() & one.outcome.reattacked.unpack()).mean() for one in best]
    assert choice["robust"] == pytest.approx(sum(held) / 2), "two families"
    assert choice["attacks"] == ["fgm_l2", "fgsm"]
    assert choice["n"] == 30


def test_what_runs_with_the_choice_says_so(tuned, command, tmp_path):
    file = tuned / "tuned" / "digits-small_cnn.json"
    (choice,) = read_choices(file)
    words = ["--defense", DEFENSE, "--attacks", "fgsm,fgm_l1,pgd_l2[steps=2]", "--shots", "0,1"]
    few = ["--episodes", 1, "--limit", 20, "--jobs", 1, "--quiet", "--results", tmp_path]
    assert command("run", *words, *few, "--tuned", file).code == 0
    found = {
        (one.cell.attack, one.cell.budget.shots): one for one in read_records(tmp_path).records
    }
    assert len(found) == 6
    for (attack, shots), record in found.items():
        if not shots:
            assert (record.provenance.tuned, record.flags) == (None, [])
            continue
        budget = record.cell.budget
        assert (budget.method, budget.steps, budget.lr) == (
            choice.method, choice.steps, choice.lr
        )  # fmt: skip
        assert record.provenance.tuned == choice
        expected = {
            "fgsm": ["adaptation was chosen on this attack"],
            "pgd_l2[steps=2]": ["adaptation was chosen on an attack of this family"],
            "fgm_l1": [],
        }
        assert record.flags == expected[attack]


def test_the_same_settings_from_another_choice_are_stale(tmp_path):
    folder, file = tmp_path / "results", tmp_path / "tuned.json"
    write_choices(file, [CHOICE])
    plan = tiny_plan("fgm_l2", shots=[1], tuned=str(file))
    assert plan.choices == {DEFENSE: CHOICE}
    prepared = prepare(plan, folder)
    plain = run(tiny_plan("fgm_l2", shots=[1], methods=["head"], steps=3, lr=0.05), folder)
    assert plain.records[0].cell == plan.cells[0]
    prepared = prepare(plan, folder, choices=(CHOICE,))
    assert "tuned" in set(prepared.fingerprint(plan.cells[0])) - set(plain.records[0].fingerprint)


# Wrong use.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps-grid", "1.5"], "--steps-grid: expected whole numbers, got '1.5'"),
        (["--steps-grid", "0,1"], "--steps-grid: expected numbers above 0"),
        (["--lr-grid", "x"], "--lr-grid: expected numbers above 0 such as 0.01,0.1, got 'x'"),
        (["--lr-grid", ""], "--lr-grid: expected numbers above 0"),
        (["--max-clean-drop", "-1"], "--max-clean-drop: expected points from 0 to 100, got -1"),
        (["--shots", "0"], "--shots 0 adapts to nothing"),
        (["--methods", "heads"], "unknown adaptation method 'heads'"),
        (["--attacks", "pgd_linff"], "unknown attack 'pgd_linff'"),
    ],
)
def test_wrong_use_is_one_line(command, tmp_path, words, said):
    plain = ["--defense", DEFENSE, "--results", tmp_path]
    plain += [] if "--attacks" in words else ["--attacks", "fgsm"]
    command("tune", *plain, *words).refused(said)
    assert not list(tmp_path.iterdir())


def test_nothing_within_the_clean_drop_is_no_choice(command, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.cli.tuning.choose", lambda tried, most: None)
    words = ["--defense", DEFENSE, "--attacks", "fgsm", "--methods", "head", "--lr-grid", 0.05]
    done = command("tune", *words, *SMALL, "--quiet", "--results", tmp_path)
    assert done.code == 1
    assert f"{DEFENSE}: no setting keeps clean accuracy within 1 points" in done.err
    assert not (tmp_path / "tuned").exists()
