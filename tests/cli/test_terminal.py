"""What stands on a terminal of 80 columns."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import pytest
from report_records import matrix, record, without
from rich.console import Console

from benchmark.cli.launch import idle_gpu
from benchmark.execution.progress import ProgressBars
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.cells import Budget
from reports.summary.console import print_summary
from reports.tidy.frame import from_records

LONG = "meta_adv[algorithm=maml,attacks=fgsm+family:l2-gradient,inner=clean,passes=1000000]"
ATTACKS = {"fgsm": "linf-gradient", "pgd_linf": "linf-gradient", "square": "score-based"}


def printed(records, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_summary(from_records(records), console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def test_the_clock_and_the_running_attack_stay_visible(monkeypatch):
    cell = SimpleNamespace(
        defense=LONG, attack="pgd_linf", budget=Budget(shots=10, steps=10, lr=0.02)
    )
    monkeypatch.setattr("benchmark.plan.cost.costs", lambda plan: [1.0])
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    bars = ProgressBars(SimpleNamespace(cells=[cell]), console)
    bars.training(f"{LONG} on digits, seed 0")(0.5)
    bars.begun(cell)
    console.print(bars.bars.get_renderable())
    training, running = sorted(console.file.getvalue().splitlines(), key=lambda line: "1/1" in line)
    for line in (training, running):
        assert len(line) <= 80
        assert re.search(r"\d:\d\d:\d\d left [-\d]:[-\d]{2}:[-\d]{2}$", line.rstrip())
    assert running.startswith("1/1 pgd_linf meta_adv[") and "\u2026" in running
    assert training.startswith("training meta_adv[")


def test_few_attacks_have_a_line_each():
    text = printed(matrix(attacks=ATTACKS, shots=(0, 5), n=40))
    for name in ATTACKS:
        assert re.search(rf"^ {name} +\w+ +5 ", text, re.MULTILINE), text
    many = {f"a{place}": "linf-gradient" for place in range(7)}
    assert " a3 " not in printed(matrix(attacks=many, n=40))


def test_a_failed_attack_leaves_the_numbers_of_the_others():
    done = matrix(defenses=("standard",), attacks=ATTACKS, shots=(0,), n=40)
    whole = from_records(done).set_index("attack")["robust"]
    records = without(done, "standard", "square", 0)
    records.append(record("square", "standard", 0, status="failed", reason="boom"))
    text = printed(records)
    union = min(whole["fgsm"], whole["pgd_linf"])
    (aggregate,) = re.findall(r"standard .* ([\d.]+) of 2/3 cells", text)
    assert float(aggregate) <= 100 * union + 0.05
    assert "over the attacks that are there for all, no score" in text
    assert re.search(r"^ square +failed $", text, re.MULTILINE), text
    for name in ("fgsm", "pgd_linf"):
        assert re.search(rf"^ {name} +[\d.]+ +{100 * whole[name]:.1f} \(", text, re.MULTILINE)


def test_without_adaptation_there_are_no_empty_columns():
    text = printed(matrix(attacks=ATTACKS, shots=(0,), n=40))
    for word in ("static", "infla", "gain", "re-at", "@0"):
        assert word not in text, text
    assert "inflation" in printed(matrix(attacks=ATTACKS, shots=(0, 5), n=40))


def test_the_footnote_explains_what_is_shown_alone():
    records = matrix(attacks=ATTACKS, shots=(0, 5), n=40)
    wide, narrow = " ".join(printed(records, 200).split()), " ".join(printed(records, 70).split())
    assert "worst case: per image" in wide and "gain = robust@K - robust@0" in wide
    for column, meaning in (("worst case", "per image"), ("gain", "robust@K - robust@0")):
        shown = re.search(rf"\b{column.split()[0]}\b", narrow.partition("Percent")[0])
        assert (meaning in narrow) == bool(shown)
    assert "per image" not in narrow
    assert "rule:" not in wide


def test_a_list_is_a_line_each_and_options_are_shown_of_one(command, monkeypatch):
    terminal = SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: True))
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.cli.listing.sys", terminal)
        patch.setenv("COLUMNS", "80")
        shown = command("list attacks").out.splitlines()
    assert len(shown) == len({line.split()[0] for line in shown}) > 140
    assert max(map(len, shown)) <= 80
    assert not any("step_size" in line for line in shown)
    one = command("list attacks pgd_linf").out
    assert "steps=40" in one and "linf 0.15" in one and "square" not in one
    command("list attacks pgd_lnf").refused("did you mean pgd_linf or ", "see `list attacks`")


@pytest.mark.parametrize(
    "words", ["run --attacks pgd_lnf", "run --attacks zzz*", "list attacks pgd_lnf"]
)
def test_a_long_error_names_the_three_nearest(command, words):
    ended = command(*words.split())
    ended.refused("did you mean")
    assert ended.line.count(" or ") == 2 and len(ended.line) < 200


def test_a_gpu_that_tiny_images_leave_idle_is_said():
    plan = make_plan(make_request({"shots": [0]}), read_suite("quick"))
    assert "--device cpu" in idle_gpu(plan, "cuda") and not idle_gpu(plan, "cpu")
    larger = make_plan(make_request({"shots": [0], "dataset": "mnist"}), read_suite("quick"))
    assert not idle_gpu(larger, "cuda:0")
