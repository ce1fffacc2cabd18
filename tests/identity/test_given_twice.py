"""No flag with a value is taken twice in silence, whatever the command."""

import pytest
import typer.main
from report_records import record

from benchmark.cli import app as cli
from benchmark.results.store import write_record


def _commands(group, words=()):
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from _commands(found, (*words, name))
        else:
            yield (*words, name), found


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))
VALUED = [
    (*words, flag.opts[0])
    for words, found in COMMANDS.items()
    for flag in found.params
    if flag.param_type_name == "option" and not (flag.is_flag or flag.multiple)
]


def test_every_command_is_looked_at():
    assert {("run",), ("compare",), ("check",), ("tune",), ("cache", "prune")} <= set(COMMANDS)
    assert len(VALUED) > 60


@pytest.mark.parametrize("words", VALUED, ids=" ".join)
def test_a_flag_given_twice_is_refused(words, command):
    command(*words, "1", f"{words[-1]}=1").refused(f"{words[-1]} is given 2 times; keep one")


def test_lists_and_flags_without_a_value_may_come_again(tmp_path, command):
    folders = [tmp_path / name for name in "ab"]
    for folder, defense in zip(folders, "ab", strict=True):
        write_record(folder, record("fgsm", defense, 0))
    words = [word for folder in folders for word in ("--results", folder)]
    ended = command("leaderboard", *words, "--out", tmp_path / "o")
    assert ended.code == 0, ended.err
    text = (tmp_path / "o" / "leaderboard.md").read_text()
    assert "| a |" in text.replace("  ", " ")
    assert "| b |" in text.replace("  ", " ")
    assert command("list", "suites", "--json", "--json").code == 0
