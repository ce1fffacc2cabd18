"""Records outlive an upgrade: what depends on a part that changed is made again, nothing else."""

from __future__ import annotations

import pytest
from tiny_runs import run, tiny_plan

from attacks.gradient import PGDLinf
from baselines.standard import Standard
from benchmark.identity import import_graph
from benchmark.identity.module_finder import ROOT
from benchmark.results.store import record_path, write_record

ATTACKS = "pgd_linf[steps=2],aa_square[queries=5]"


@pytest.fixture
def made(tmp_path):
    plan = tiny_plan(ATTACKS, shots=[0], limit=20)
    assert run(plan, tmp_path).ended == {"done": 2}
    return plan, tmp_path


@pytest.fixture
def bump(monkeypatch):
    """Gives a folder of ours another number, as an upgrade would."""
    genuine = import_graph._read

    def bumped(part):
        file = ROOT.joinpath(*part.split("."), "__init__.py")
        assert genuine(file).versions == (("", 1),)
        newer = genuine(file)._replace(versions=(("", 2),))
        other = lambda path: newer if path == file else genuine(path)  # noqa: E731
        monkeypatch.setattr(import_graph, "_read", other)
        import_graph.reachable.cache_clear()

    yield bumped
    monkeypatch.undo()
    import_graph.reachable.cache_clear()


@pytest.mark.parametrize(
    ("part", "ended"),
    [
        ("benchmark.protocol", {"done": 2}),
        ("benchmark.data", {"done": 2}),
        ("baselines.training", {"done": 2}),
        ("baselines.networks", {"done": 2}),
        ("attacks.engine", {"done": 2}),
        ("attacks.autoattack", {"cached": 1, "done": 1}),
        ("attacks.libraries", {"cached": 2}),
        ("baselines.meta", {"cached": 2}),
    ],
)
def test_a_new_version_of_a_shared_part_makes_stale_what_reaches_it(made, bump, part, ended):
    bump(part)
    again = run(*made)
    assert again.ended == ended
    assert all(f"{part} version" in note for note in again.log.notes)
    assert len(again.log.notes) == ended.get("done", 0)
    assert run(*made).ended == {"cached": 2}


def test_a_new_version_of_an_attack_makes_its_records_stale_alone(made, monkeypatch):
    monkeypatch.setattr(PGDLinf, "version", 2)
    again = run(*made)
    assert again.ended == {"cached": 1, "done": 1}
    (note,) = again.log.notes
    assert note.endswith("(attack, attack version changed)")


def test_a_new_version_of_a_defense_trains_it_again(made, monkeypatch):
    monkeypatch.setattr(Standard, "version", 2)
    again = run(*made)
    assert again.ended == {"done": 2}
    assert len(again.log.trained) == 1
    assert all("training version" in note for note in again.log.notes)


def test_our_own_code_may_be_written_anew(made, monkeypatch):
    """Neither the text of a file nor its hash counts: a record outlives a refactoring."""
    monkeypatch.setattr(import_graph, "code_of", lambda content: "other code")
    import_graph.reachable.cache_clear()
    assert run(*made).ended == {"cached": 2}
    import_graph.reachable.cache_clear()


@pytest.mark.parametrize("schema", [1, 2])
def test_records_of_before_versions_were_declared_are_made_once_more(made, schema):
    plan, folder = made
    for record in run(*made).records:
        older = {"cell": "0" * 16, "attack code": "0" * 16, "protocol code": "0" * 16}
        write_record(
            folder, record.model_copy(update={"schema_version": schema, "fingerprint": older})
        )
    again = run(*made)
    assert again.ended == {"done": 2}
    said = "(made before components declared their versions)"
    assert all(note.endswith(said) for note in again.log.notes)
    assert run(*made).ended == {"cached": 2}
    assert record_path(folder, plan.cells[0]).is_file()
