"""Whatever a model does, a failed cell is one failed cell, and says where it failed."""

from __future__ import annotations

import pytest
from own_models import FINE, FINE_FAILED, SIX, Team, fill_with, own_model, same, statuses

from benchmark.core.errors import LINE, PAGE, Escape, OverLimit, clean, contained, describe, trace

TEAMS = {"here": Team("here"), "processes": Team("processes", 2)}
RAISES = {
    "what ends a program": ("sys.exit(3)", "SystemExit: 3 (own.py:"),
    "no exception at all": ("raise Stop('now')", "Stop: now (own.py:"),
    "no words": ("raise Mute()", "Mute: it cannot say what (own.py:"),
    "lone surrogates": ("raise ValueError('a\\udcffb')", "ValueError: a\\udcffb (own.py:"),
    "ten megabytes": ("raise ValueError('x' * 10_000_000)", "ValueError: xxx"),
    "too deep": ("self(images)", "RecursionError: maximum recursion depth exceeded"),
    "a cause": ("raise OSError('b') from KeyError('a')", "OSError: b (own.py:"),
}
CLASSES = """
class Stop(BaseException): pass
class Mute(Exception):
    def __str__(self): raise ValueError("no words")
    __repr__ = __str__
"""


def with_classes(folder, act):
    name = own_model(folder, act)
    file = folder / "own.py"
    file.write_text(CLASSES + file.read_text())
    return name


@pytest.mark.parametrize("team", TEAMS.values(), ids=TEAMS)
@pytest.mark.parametrize(("act", "reason"), RAISES.values(), ids=RAISES)
def test_what_a_model_raises_costs_one_cell(team, act, reason, tmp_path):
    plan = {**SIX, "attacks": "fgsm"}
    model = with_classes(tmp_path, f"if {FINE}: {act}")
    run = fill_with(team, tmp_path, defenses=model, **plan)
    assert run.ended == {"done": 2, "failed": 1}
    failed = run.only(method="finetune")
    assert failed.reason.startswith(reason)
    assert len(failed.reason) < LINE + 100
    assert "own.py" in failed.traceback
    assert "in complete_group" in failed.traceback
    assert len(failed.traceback) < PAGE + 100
    assert {record.traceback for record in run.records if record.status == "done"} == {""}


STAGES = {
    "training": "raise ValueError('early')",
    "attack": "if len(images) == 40: raise ValueError('early')",
    "adaptation": f"if {FINE}: raise ValueError('early')",
}
"""What raises when; `adaptation` in one cell of two."""


@pytest.mark.parametrize("team", TEAMS.values(), ids=TEAMS)
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_keeps_its_traceback(team, stage, tmp_path):
    defenses = own_model(tmp_path, STAGES[stage])
    run = fill_with(team, tmp_path, defenses=defenses, attacks="fgsm,uniform_noise", shots=[0, 1])
    failed = [record for record in run.records if record.status == "failed"]
    assert failed
    assert all("raise ValueError('early')" in record.traceback for record in failed)
    lengths = {len(record.traceback.splitlines()) for record in failed}
    assert max(lengths) < 60, "it does not grow from cell to cell"


SPOILT = {
    "state": "self.state_dict = lambda *_, **__: 1 / 0",
    "copies": "Net.__deepcopy__ = lambda *_: 1 / 0",
    "name": "Net.__repr__ = lambda *_: 1 / 0",
    "modules": "self.modules = lambda *_: 1 / 0",
    "training": "Net.training = property(lambda self: 1 / 0)",
    "pickles": "Net.__reduce_ex__ = lambda *_: 1 / 0",
    "parts": "self._modules.clear()",
    "weights": "self.body.weight.data.fill_(9)",
}
"""What a model leaves broken when it fails."""


@pytest.mark.parametrize("team", TEAMS.values(), ids=TEAMS)
@pytest.mark.parametrize("act", SPOILT.values(), ids=SPOILT)
def test_however_a_failed_cell_leaves_its_model_the_run_goes_on(team, act, tmp_path):
    model = own_model(tmp_path, f"if {FINE}: {act}; raise ValueError('late')")
    run = fill_with(team, tmp_path, defenses=f"{model},standard[epochs=1]", **SIX)
    assert len(run.records) == sum(run.ended.values()) == 12
    failed = [record for record in run.records if record.status == "failed"]
    assert {record.cell.defense for record in failed} == {"own.py:Net"}
    assert all(record.traceback for record in failed)
    if not act.startswith("Net."):  # which all cells share, and nobody can put right
        assert [record.cell.budget.method for record in failed] == 2 * ["finetune"]


APART = {
    "fails": "raise ValueError('apart')",
    "forgets": "super().__setstate__(state); self.body.weight.data.zero_()",
}


@pytest.mark.parametrize("way", APART.values(), ids=APART)
def test_a_model_that_comes_apart_on_the_way_to_a_worker_is_made_there(way, tmp_path):
    name, file = own_model(tmp_path, "0"), tmp_path / "own.py"
    file.write_text(f"""{file.read_text()}
    def __setstate__(self, state): {way}
    def __deepcopy__(self, memo): return Net().train(self.training).requires_grad_(False)
""")
    single = fill_with(Team("here"), tmp_path / "here", defenses=name, **SIX)
    double = fill_with(Team("processes", 2), tmp_path / "processes", defenses=name, **SIX)
    assert single.ended == {"done": 6}
    assert same(double) == same(single)


@pytest.mark.parametrize("act", ["os._exit(7)", "raise KeyboardInterrupt"])
def test_a_worker_that_a_model_ends_costs_its_cell(act, tmp_path, capfd):
    model = own_model(tmp_path, f"if worker and {FINE}: {act}")
    run = fill_with(TEAMS["processes"], tmp_path, defenses=model, **SIX)
    assert statuses(run) == FINE_FAILED
    reasons = {record.reason for record in run.records if record.status == "failed"}
    how = "died with exit code 7" if "7" in act else "was interrupted"
    assert reasons == {f"a worker {how}, twice while it ran this cell"}


def test_ctrl_c_in_this_process_ends_the_run(tmp_path):
    model = own_model(tmp_path, f"if {FINE}: raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        fill_with(TEAMS["here"], tmp_path, defenses=model, **SIX)


# What --debug shows.


@pytest.mark.parametrize("where", ["after", "before"])
def test_debug_shows_the_traceback_of_a_failed_cell(run, command, tmp_path, where):
    model = own_model(tmp_path, "if len(images) == 20: raise ValueError('early')")
    quiet = run("--quiet", defense=model)
    assert quiet.code == 1
    assert "Traceback" not in quiet.err
    if where == "after":
        shown = run("--quiet", "--debug", defense=model)
    else:
        words = ["--defense", model, "--attacks", "fgsm", "--limit", 20, "--shots", 0]
        shown = command("--debug", "run", "--quiet", *words, "--results", tmp_path / "results")
    assert shown.code == 1
    assert "Traceback (most recent call last)" in shown.err
    assert "ValueError: early" in shown.err


@pytest.mark.parametrize("words", ["list attacks", "report", "check --power"])
def test_a_mistake_of_ours_is_one_line_and_debug_says_more(command, monkeypatch, words):
    def fails(*_, **__):
        raise LookupError("odd\x1b[2J")

    monkeypatch.setattr("benchmark.cli.listing.show", fails)
    monkeypatch.setattr("reports.summary.write.write_report", fails)
    monkeypatch.setattr("benchmark.cli.gate.make_rules", fails)
    command(words).refused("LookupError: odd\\u001b[2J (test_errors.py:", "--debug says more")
    with pytest.raises(LookupError):
        command(f"{words} --debug")


# The words themselves.


def caught(error):
    """As it is after it was raised and contained."""
    try:
        with contained():
            raise error
    except Exception as found:
        return found


class Odd(Exception):
    """Which cannot even be formatted."""

    __notes__ = property(lambda self: 1 / 0)


def test_what_ends_a_program_becomes_an_exception_and_ctrl_c_stays_what_it_is():
    for error in (SystemExit(1), GeneratorExit(), BaseException("x")):
        assert isinstance(caught(error), Escape)
        assert describe(caught(error)).startswith(f"{type(error).__name__}: ")
    for error in (KeyboardInterrupt(), OverLimit("late")):
        with pytest.raises(type(error)), contained():
            raise error


def test_a_traceback_keeps_both_ends_and_is_text_whatever_was_raised():
    long = trace(caught(ValueError(f"begin {'x' * 10**6} end\udcff")))
    assert PAGE < len(long) < PAGE + 60
    assert long.startswith("Traceback (most recent call last)")
    assert long.endswith(" end\\udcff\n")
    assert "characters left out" in long
    assert "test_errors.py:" in trace(caught(Odd("x")))
    assert trace(ValueError("raised nowhere")) == ""
    assert clean("short", 5) == "short"
