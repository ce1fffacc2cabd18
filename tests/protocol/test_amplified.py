"""Adaptation that infers the threat: what it looks at, what it takes, what the record says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_runs import prepare, run, tiny_plan

from attacks.threats.infer import infer
from attacks.threats.pose import POSES, infer_poses
from benchmark.adaptation.adapt import adapt_all
from benchmark.core.errors import UsageError
from benchmark.core.threats.sets import Inference
from benchmark.evaluation.verdicts import Meter, state_hash
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.protocol import amplified
from benchmark.protocol.amplified import view_of
from benchmark.protocol.defender import craft_shown
from benchmark.results.records import Budget, Inferred

POOLED = "multi_at[epochs=1,how=random,attacks=fgsm+fgm_l2]"
OWN = 20
SIZES = f"own={OWN},rehearsed={OWN},shown={OWN}"
SMALL = f"amplify[{SIZES},every=1]"


def plan_of(attacks="rotation_translation[angles=3]", defenses=None, **values):
    values = {"shots": [1], "steps": 2, "methods": [SMALL], "knowledge": ["pairs"]} | values
    return tiny_plan(attacks, defenses, **values)


def opened(tmp_path, plan, shots=1):
    """The one cell that adapts, its inputs, and the images it is shown."""
    prepared = prepare(plan, tmp_path)
    (cell,) = (cell for cell in plan.cells if cell.budget.shots == shots)
    inputs = prepared.inputs(cell)
    (shown,) = craft_shown([(cell, 0)], inputs, Meter())
    return cell, inputs, shown


def test_a_record_says_what_was_found(tmp_path):
    done = run(plan_of(episodes=2), tmp_path).records[-1]
    assert done.status == "done" and len(done.outcome.inferred) == 2
    for found in done.outcome.inferred:
        assert (found.kind, found.sets, found.pairs <= 10) == ("warp", 1, True)
        assert found.residuals.keys() == {"warp", "mask", "filter"}
        assert found.residuals["warp"] < 0.2 and found.residuals["filter"] is None
        assert str(found).startswith("a warp of rank") and 0.3 < found.size < 3
        assert found.declared is None
    norms = run(plan_of("pgd_l2[steps=3]"), tmp_path).records[-1].outcome.inferred[0]
    assert norms.kind == "norms" and 0.5 < norms.declared < 1.5


def test_norms_are_no_larger_than_breaks_as_much_as_what_was_shown(tmp_path):
    """Uniform noise changes much and breaks little: in a ball as large everything would break.

    And of what breaks everything only a part is trained on.
    """

    def found(attack):
        method = f"amplify[{SIZES},representations=norms]"
        trained = "standard[epochs=5]"
        done = run(plan_of(attack, trained, methods=[method], shots=[10]), tmp_path).records[-1]
        return done.outcome.inferred[0]

    noise, strongest = found("uniform_noise[eps=0.3,draws=1]"), found("pgd_linf[eps=0.1,steps=10]")
    assert "linf 0.07" in noise.found and noise.found.endswith("0.25 of what was seen")
    assert "linf 0.1, " in strongest.found and "seen" not in strongest.found
    assert noise.size < 0.4 and strongest.size > 0.8
    assert found("pgd_linf[eps=0.4,steps=10]").found.endswith("of what was seen")


def test_a_sentence_of_what_was_found():
    words = {"pairs": 70, "sets": 1}
    found = Inferred(
        kind="warp", found="a warp of rank 2", residuals={"warp": 0.003, "mask": 0.41}, **words
    )
    assert str(found) == "a warp of rank 2, residual 0.003; runner-up a mask, 0.41"
    norms = Inferred(
        kind="norms", found="linf 0.15", residuals={"filter": 0.79, "mask": None}, **words
    )
    assert str(norms) == "linf 0.15; runner-up a filter, 0.79"
    assert str(Inferred(kind="", found="", residuals={}, pairs=0, sets=0)) == "nothing"


@pytest.mark.parametrize("knowledge", ["pairs", "simulated"])
def test_the_same_command_gives_the_same(tmp_path, knowledge):
    outcomes = [
        run(plan_of(knowledge=[knowledge]), tmp_path / name).records[-1].outcome for name in "ab"
    ]
    assert outcomes[0] == outcomes[1]


def test_passes_are_counted(tmp_path):
    """Three looks and a slope of OWN rows a step, there and back; two warps of each own besides."""
    outcome = run(plan_of(steps=3, episodes=1), tmp_path).records[-1].outcome
    (effort,) = outcome.adaptation
    assert effort.backwards == 3 * (3 * OWN + OWN)
    assert effort.forwards == 3 * (3 * OWN + OWN + 2 * OWN)
    assert (effort.images, effort.updates) == (3 * 3 * OWN, 3)


def test_an_attack_on_the_shown_is_counted_from_the_first(tmp_path):
    """Under simulated: before the first step and before the third, 3 poses of 10 images."""
    method = f"amplify[{SIZES},every=2,representations=none]"
    plan = plan_of(steps=3, episodes=1, methods=[method], knowledge=["simulated"])
    (effort,) = run(plan, tmp_path).records[-1].outcome.adaptation
    assert effort.forwards == 2 * 3 * 10 + 3 * 2 * OWN
    assert effort.backwards == 3 * 2 * OWN


def test_training_attacks_are_rehearsed_and_counted(tmp_path):
    """FGSM and FGM take an image three passes: two forward, one back."""
    method = f"amplify[{SIZES},representations=none]"
    plan = plan_of(defenses=POOLED, episodes=1, methods=[method], knowledge=["clean"])
    cell, inputs, _ = opened(tmp_path, plan)
    assert [one.name for one in inputs.rehearsed] == ["fgsm", "fgm_l2"]
    (effort,) = run(plan, tmp_path).records[-1].outcome.adaptation
    assert (effort.forwards, effort.backwards) == (2 * 4 * OWN, 2 * 3 * OWN)
    assert cell.budget.knowledge == "clean"


def rows_of(images):
    return {tuple(one.tolist()) for one in images.flatten(1)}


def test_only_shown_and_training_images_are_looked_at(tmp_path):
    cell, inputs, shown = opened(tmp_path, plan_of())
    asked = []

    def spy(numbers, pairs):
        asked.append(pairs)
        return infer(numbers, pairs)

    inputs = replace(inputs, infer=spy)
    view = view_of(cell, 0, inputs, Meter(), shown)
    first, second = view({}), view({})
    support = inputs.support(cell, 0).batch()
    assert torch.equal(first.images, shown) and torch.equal(asked[0].originals, support.images)
    assert len(second.labels) == 3 * OWN
    assert rows_of(second.images[:OWN]) <= rows_of(shown)
    assert rows_of(second.images[-OWN:]) <= rows_of(inputs.data.train.images())
    scored = rows_of(inputs.query(cell.limit).images) - rows_of(inputs.data.train.images())
    assert not scored & rows_of(torch.cat([first.images, second.images, asked[0].originals]))


def test_shown_images_are_attacked_again_on_the_model_of_the_moment(tmp_path, monkeypatch):
    plan = plan_of(steps=4, knowledge=["simulated"], methods=[f"amplify[{SIZES},every=2]"])
    cell, inputs, shown = opened(tmp_path, plan)
    targets, genuine = [], amplified.craft

    def spy(target, *others):
        targets.append(state_hash(target))
        return genuine(target, *others)

    monkeypatch.setattr(amplified, "craft", spy)
    assert shown is None
    view = view_of(cell, 0, inputs, Meter(), shown)
    adapt_all(inputs.trained.network, cell.budget, [view])
    assert len(targets) == len(set(targets)) == 2
    assert targets[0] == inputs.trained.hash
    assert view.inferred.sets == 2


def captured(attacks, **values):
    return plan_of(attacks, knowledge=["captured"], episodes=1, **values)


def test_poses_are_found_without_originals(tmp_path):
    """The search is counted, POSES looks at each of the shown; four poses of each own image too."""
    plan = captured("rotation_translation", shots=[3], steps=3)
    outcome = run(plan, tmp_path).records[-1].outcome
    (found,), (effort,) = outcome.inferred, outcome.adaptation
    assert (found.kind, found.sets, found.pairs) == ("pose", 1, 30)
    assert found.found.startswith("turns of up to") and found.residuals["pose"] < 1
    assert effort.backwards == 3 * 3 * OWN
    assert effort.forwards == 3 * (3 * OWN + 4 * OWN) + POSES * 30


@pytest.mark.parametrize("attack", ["pgd_linf[steps=3]", "occlusion"])
def test_without_a_pose_nothing_is_inferred(tmp_path, attack):
    """Shown and own images are looked at, and the record says that no pose was believed."""
    outcome = run(captured(attack, shots=[3], steps=3), tmp_path).records[-1].outcome
    (found,), (effort,) = outcome.inferred, outcome.adaptation
    assert (found.kind, found.found, found.sets) == ("", "", 0)
    assert str(found).startswith("nothing; not believed: a pose, ")
    assert effort.backwards == 3 * 2 * OWN


def test_captured_images_come_without_originals(tmp_path):
    cell, inputs, shown = opened(tmp_path, captured("rotation_translation"))
    asked = []

    def spy(numbers, model, looked, own):
        asked.append((looked, own))
        return infer_poses(numbers, model, looked, own)

    def pairs(*_):
        raise AssertionError("looked at originals")

    view = view_of(cell, 0, replace(inputs, infer=pairs, infer_alone=spy), Meter(), shown)
    view({})
    ((looked, own),) = asked
    assert torch.equal(looked.images, shown)
    assert rows_of(own.images) <= rows_of(inputs.data.train.images())


def test_no_steps_and_no_shots_are_the_trained_model(tmp_path):
    for values in ({"steps": 0}, {"shots": [0]}):
        (done,) = run(plan_of(**values), tmp_path).records
        assert not done.cell.budget.adapts
        assert done.outcome.is_unadapted() and not done.outcome.inferred


def test_images_that_did_not_change_leave_shown_and_rehearsed_ones(tmp_path):
    cell, inputs, _ = opened(tmp_path, plan_of())
    view = view_of(cell, 0, inputs, Meter(), inputs.support(cell, 0).batch().images)
    view({})
    assert len(view({}).labels) == 2 * OWN
    assert (view.inferred.kind, view.inferred.pairs) == ("", 0)


def test_where_nothing_is_found_again_the_first_set_stays(tmp_path):
    cell, inputs, _ = opened(tmp_path, plan_of(knowledge=["simulated"]))
    found = []

    def once(numbers, pairs):
        found.append(Inference("", None, {}, 0, 0.0, True) if found else infer(numbers, pairs))
        return found[-1]

    inputs = replace(inputs, infer=once)
    view = view_of(cell, 0, inputs, Meter(), None)
    for _ in range(3):
        looked = view({})
    assert view.inferred.sets == 1 and len(looked.labels) == 3 * OWN


def test_a_sequence_infers_at_each_arrival(tmp_path):
    plan = plan_of(None, sequence="rotation_translation[angles=3],occlusion", shots=[1])
    done = run(plan, tmp_path).records
    kinds = {len(one.cell.arrivals): one.outcome.inferred[0].kind for one in done if
             one.cell.budget.adapts}  # fmt: skip
    assert kinds == {1: "warp", 2: "mask"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"knowledge": ["clean"]}, "expected captured, pairs or simulated"),
        (
            {"methods": ["amplify[representations=mask+filter]"], "knowledge": ["captured"]},
            "expected warp among",
        ),
        ({"methods": ["amplify[representations=wrap]"]}, "unknown representation of amplify"),
        ({"methods": ["amplify[evry=3]"]}, "did you mean every"),
        ({"methods": ["amplfy"]}, "did you mean amplify"),
        ({"methods": ["finetune[every=3]"]}, "unknown option of finetune"),
    ],
)
def test_wrong_use_is_said(values, said):
    asked = {"methods": ["amplify"], "knowledge": ["pairs"], "shots": [1], "attacks": "fgsm"}
    with pytest.raises(UsageError, match=said):
        make_plan(make_request(asked | values), Suite(description="", defenses="standard"))


def test_budgets_of_before_are_what_they_were():
    """The hash of a cell is of this text: no record may go stale."""
    assert Budget(shots=1, steps=2, lr=0.5).model_dump_json() == (
        '{"shots":1,"method":"finetune","knowledge":"captured","steps":2,"lr":0.5}'
    )
    method = "amplify[own=5,every=2]"
    assert Budget(shots=1, method=method).method == "amplify[every=2,own=5]"


def test_pairs_are_what_was_captured_for_other_methods(tmp_path):
    plan = plan_of(methods=["finetune"], knowledge=["captured", "pairs"])
    captured, pairs = (one.outcome for one in run(plan, tmp_path).records)
    assert captured == pairs
