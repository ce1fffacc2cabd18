"""Never fewer rows than defenses were asked for, and never one row of two files."""

from __future__ import annotations

import json

import pytest
from tiny_runs import tiny_plan

from benchmark.data import load
from benchmark.results.store import record_files

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = torch.eye(10)[ANSWER]

    def forward(self, images):
        return self.head(images.flatten(1))
"""
LEARNS = """
import torch
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self[1].weight.data = torch.randn(10, 64, generator=torch.Generator().manual_seed(0))

    def forward(self, images):
        return super().forward(IMAGES)
"""


def written(folder, answer):
    """A model that always gives this answer."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_text(NET.replace("ANSWER", str(answer)))
    return f"{folder}/model.py:Net"


def rows(ended):
    """Clean accuracy by defense, of what was printed as JSON."""
    assert ended.code == 0, ended.err
    return {cell["defense"]: cell["clean"] for cell in json.loads(ended.out)["cells"]}


@pytest.fixture(scope="module")
def share():
    labels = load.load("digits", None, False, 0).test.labels[:20]
    return [pytest.approx(int((labels == number).sum()) / 20) for number in range(10)]


@pytest.mark.parametrize("turned", [False, True])
def test_two_files_of_one_name_are_two_rows(run, tmp_path, share, turned):
    given = [written(tmp_path / name, answer) for name, answer in (("first", 1), ("second", 2))]
    defenses = ",".join(reversed(given) if turned else given)
    expected = {"first/model.py:Net": share[1], "second/model.py:Net": share[2]}
    assert share[1] != share[2]
    assert rows(run("--json", defense=defenses)) == expected
    again = run("--json", defense=defenses)
    assert rows(again) == expected
    assert "stale" not in again.err


def test_as_many_folders_are_shown_as_tell_them_apart(run, tmp_path, share):
    places = ("a/x/net", "b/x/net", "b/y/net")
    given = [written(tmp_path / place, number) for number, place in enumerate(places)]
    found = rows(run("--json", defense=",".join(given)))
    assert found == {
        f"{place}/model.py:Net": share[number] for number, place in enumerate(places)
    }  # fmt: skip


def test_two_files_of_one_model_are_two_rows(run, tmp_path, share):
    """Whoever asks for two gets two, though they are the same."""
    given = [written(tmp_path / name, 3) for name in ("first", "second")]
    found = rows(run("--json", defense=",".join(given)))
    assert found == {"first/model.py:Net": share[3], "second/model.py:Net": share[3]}


def test_equal_answers_with_other_gradients_are_two_rows_for_everybody(run, command, tmp_path):
    """Their weights and answers are one model's, their verdicts under attack are not."""
    for name, images in (("plain", "images"), ("masked", "images.mul(2**20).round().div(2**20)")):
        written(tmp_path / name, 0)
        (tmp_path / name / "model.py").write_text(LEARNS.replace("IMAGES", images))
    given = ",".join(f"{tmp_path}/{name}/model.py:Net" for name in ("plain", "masked"))
    assert len(rows(run("--json", defense=given))) == 2
    words = ("--results", tmp_path / "results", "--out", tmp_path / "board")
    assert command("leaderboard", *words).code == 0
    text = (tmp_path / "board" / "leaderboard.md").read_text()
    assert len({word for word in text.split() if word.startswith("model.py:Net@")}) == 2


def test_one_file_in_two_spellings_is_one_row(tmp_path, monkeypatch):
    given = written(tmp_path / "first", 1)
    (tmp_path / "link").symlink_to(tmp_path / "first")
    (tmp_path / "linked.py").symlink_to(tmp_path / "first" / "model.py")
    monkeypatch.chdir(tmp_path)
    for other in ("first/model.py:Net", "./first/../first/model.py:Net", "link/model.py:Net"):
        plan = tiny_plan("fgsm", f"{given},{other}", shots=[0])
        assert [*plan.defenses] == ["model.py:Net"]
        assert len(plan.cells) == 1
    plan = tiny_plan("fgsm", f"{given},linked.py:Net", shots=[0])
    assert [*plan.defenses] == ["model.py:Net", "linked.py:Net"]  # called otherwise


def test_objects_of_one_file_are_rows_of_their_own(tmp_path):
    given = written(tmp_path / "first", 1)
    with (tmp_path / "first" / "model.py").open("a") as file:
        file.write("\n\nclass Other(Net):\n    pass\n")
    plan = tiny_plan("fgsm", f"{given},{given[:-3]}Other", shots=[0])
    assert [*plan.defenses] == ["model.py:Net", "model.py:Other"]


def test_another_file_into_the_same_folder_is_refused(run, tmp_path):
    first, second = (written(tmp_path / name, at) for at, name in enumerate(("first", "second")))
    assert run("--json", defense=first).code == 0
    before = {path: path.read_bytes() for path in record_files(tmp_path / "results")}
    ended = run("--quiet", defense=second)
    assert (ended.code, ended.out) == (2, "")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert first.removesuffix(":Net") in line
    assert second.removesuffix(":Net") in line
    assert {path: path.read_bytes() for path in record_files(tmp_path / "results")} == before


def test_a_file_that_was_moved_is_the_same_one(run, tmp_path, share):
    first = written(tmp_path / "first", 1)
    assert rows(run("--json", defense=first)) == {"model.py:Net": share[1]}
    (tmp_path / "first").rename(tmp_path / "moved")
    ended = run("--json", defense=f"{tmp_path}/moved/model.py:Net")
    assert rows(ended) == {"model.py:Net": share[1]}
    assert "stale" not in ended.err
