"""Files of choices: kept, found, and refused in one line."""

from __future__ import annotations

import json

import pytest
from tiny_runs import tiny_plan
from tuned_choice import CHOICE, DEFENSE

from benchmark.core.errors import UsageError
from benchmark.plan.tuned import choice_for, read_choices, write_choices


def test_a_file_keeps_one_choice_for_each_trained_model(tmp_path):
    file = tmp_path / "deep" / "tuned.json"
    other = CHOICE.model_copy(update={"defense": "pgd_at"})
    write_choices(file, [CHOICE, other])
    write_choices(file, [CHOICE.model_copy(update={"steps": 9})])
    assert [(one.defense, one.steps) for one in read_choices(file)] == [(DEFENSE, 9), ("pgd_at", 3)]
    assert choice_for(read_choices(file), file, "digits", "small_cnn", "pgd_at") == other


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"lr": 0.1}, "expected --tuned or --adapt-lr, got both; drop one"),
        ({"steps": 2}, "expected --tuned or --adapt-steps"),
        ({"methods": ["head"]}, "expected --tuned or --adapt,"),
        ({"defenses": "pgd_at"}, "no choice for digits/small_cnn/pgd_at, only for digits/"),
        ({"dataset": "mnist"}, "no choice for mnist/"),
    ],
)  # fmt: skip
def test_a_choice_that_does_not_fit_is_refused(tmp_path, flags, said):
    write_choices(tmp_path / "tuned.json", [CHOICE])
    with pytest.raises(UsageError, match=said):
        tiny_plan("fgsm", tuned=str(tmp_path / "tuned.json"), **flags)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ('{"choices": [], "content": "x"}', "not what was written"),
        ('{"choices": [' + "9" * 400 + "]}", "a number of 400 digits"),
        ('{"choices": [{}]}', r"choices.0.dataset: Field required"),
        (b"\xff", "can't decode byte"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, content, said):
    file = tmp_path / "tuned.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said):
        read_choices(file)


def test_a_choice_that_was_damaged_is_not_run_with(tmp_path):
    """Another rate would be said to be chosen; a file of before has no hash, and is read."""
    file = tmp_path / "tuned.json"
    write_choices(file, [CHOICE])
    before, content = read_choices(file), json.loads(file.read_text())
    content["choices"][0]["lr"] *= 10
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f"{file}: it is not what was written"):
        read_choices(file)
    file.write_text(json.dumps({"choices": [CHOICE.model_dump(mode="json")]}))
    assert read_choices(file) == before
