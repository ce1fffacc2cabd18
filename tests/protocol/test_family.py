"""`--verdicts union`: the same worst case of a family on every image, for less work."""

from itertools import pairwise

import numpy as np
import pytest
from tiny_runs import prepare, record_of, run, tiny_plan

from attacks import ATTACKS
from benchmark.execution.execute import execute

ATTACKS_OF_FAMILIES = (
    "fgsm,pgd_linf[steps=5],pgd_linf_dlr[steps=5],aa_fab_t[iterations=5],apgd_linf[steps=5],"
    "jitter[steps=5],gaussian_noise,uniform_noise,rotation_translation[angles=5,shifts=3],elastic[fields=2]"
)

DEFENSE = "standard[epochs=4]"


def plan(**values):
    return tiny_plan(attacks=ATTACKS_OF_FAMILIES, defenses=DEFENSE, shots=[0], limit=120, **values)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    found = {}
    for name in ("all", "union"):
        folder = tmp_path_factory.mktemp(name)
        found[name] = run(plan(), folder, verdicts=name)
        assert set(found[name].ended) == {"done"}
    return found


def families(found):
    """By family, its records."""
    made = {}
    for record in found.records:
        made.setdefault(record.family, []).append(record)
    return made


def union(records):
    return np.logical_and.reduce([record.outcome.before.unpack()[0] for record in records])


def test_the_union_of_a_family_is_the_same_on_every_image(both):
    usual, quick = families(both["all"]), families(both["union"])
    assert usual.keys() == quick.keys()
    for family, records in usual.items():
        assert (union(quick[family]) == union(records)).all(), family


def test_later_attacks_meet_only_what_is_left(both):
    """Their verdicts include those before, and they cost no more."""
    for family, records in families(both["union"]).items():
        ordered = sorted(records, key=_passes)
        tables = [record.outcome.before.unpack()[0] for record in ordered]
        for earlier, later in pairwise(tables):
            assert (later <= earlier).all(), family
    forwards = {
        name: sum(record.cost.forwards + record.cost.backwards for record in found.records)
        for name, found in both.items()
    }
    assert forwards["union"] < 0.8 * forwards["all"]


def test_a_library_that_deals_to_places_is_asked_nothing_of_what_is_settled(both):
    """One that deals to the images that stand meets all of them, but leaves those it broke."""
    spent = {
        name: {record.cell.attack: record.cost.forwards for record in found.records}
        for name, found in both.items()
    }
    for attack in ("jitter[steps=5]", "apgd_linf[steps=5]"):
        assert spent["union"][attack] < spent["all"][attack]


def _passes(record):
    both_ways = tiny_plan(attacks=record.cell.attack).attacks
    return both_ways[record.cell.attack].passes


def test_records_say_so_and_do_not_stand_for_others(both, tmp_path):
    for usual, quick in zip(both["all"].records, both["union"].records, strict=True):
        assert not any("cheaper attacks" in flag for flag in usual.flags)
        assert any("cheaper attacks of its family" in flag for flag in quick.flags)
    found = run(plan(), tmp_path, verdicts="union")
    assert found.ended == {"done": len(found.records)}
    assert run(plan(), tmp_path).ended == {"done": len(found.records)}
    assert run(plan(), tmp_path, verdicts="union").ended == {"cached": len(found.records)}


def test_processes_find_the_same(both, tmp_path):
    prepared = prepare(plan(), tmp_path, verdicts="union", executor="processes", jobs=2)
    execute(prepared.plan, prepared.settings, (DEFENSE,), prepared.listener)
    for record in both["union"].records:
        assert record_of(tmp_path, record.cell).outcome == record.outcome


def test_a_crash_in_one_attack_leaves_the_others(tmp_path, monkeypatch):
    def crash(*_args, **_kwargs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(ATTACKS.get("pgd_linf"), "perturb", crash)
    found = run(plan(), tmp_path, verdicts="union")
    statuses = {record.cell.attack: record.status for record in found.records}
    assert statuses.pop("pgd_linf[steps=5]") == "failed"
    assert statuses.pop("pgd_linf_dlr[steps=5]") == "failed"  # it has the same method
    assert set(statuses.values()) == {"done"}


def test_it_is_refused_where_models_adapt(command, tmp_path):
    words = ("run", "--attacks", "fgsm", "--shots", "0,1", "--verdicts", "union", "--results")
    found = command(*words, tmp_path)
    assert found.code == 2 and "give --shots 0" in found.err
    found = command("run", "--verdicts", "some", "--results", tmp_path)
    assert found.code == 2 and "Known: all, union" in found.err
