"""A defense brings the attack that was made against it: it runs and counts there alone."""

import subprocess
import sys

import pytest
from tiny_runs import SUITE

from benchmark.core.errors import UsageError
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import make_request
from reports.leaderboard.table import board
from reports.tidy.aggregate import headline
from reports.tidy.frame import load
from reports.tidy.sources import gather

FILE = '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from attacks.engine.ball import BallAttack
from attacks.gradient import PGDLinf
from baselines.standard import Standard


@dataclass(frozen=True)
class Unmask(PGDLinf):
    """Black images: it breaks whatever calls black something else."""

    name: ClassVar[str] = "unmask"
    version: ClassVar[int] = 1

    @property
    def passes(self):
        return 1

    def perturb(self, model, images, labels, goal, rng):
        return (images - self.eps).clamp(0, 1)


@dataclass(frozen=True)
class Masked(Standard):
    """Standard training, and the attack that unmasks it."""

    name: ClassVar[str] = "masked"

    def adaptive_attacks(self, strengths):
        return (Unmask(strengths["linf"]["eps"]),)


@dataclass(frozen=True)
class Twice(Masked):
    name: ClassVar[str] = "twice"

    def adaptive_attacks(self, strengths):
        return (Unmask(0.1), Unmask(0.2))


@dataclass(frozen=True)
class Other(Masked):
    name: ClassVar[str] = "other"

    def adaptive_attacks(self, strengths):
        return (Unmask(0.3),)
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(FILE)
    return path


def planned(defenses, attacks):
    return make_plan(make_request({"defenses": defenses, "attacks": attacks}), SUITE)


def attacked(plan, defense):
    return {cell.attack for cell in plan.cells if defense in cell.defense}


def test_it_is_planned_for_its_own_defense_alone(file):
    plan = planned(f"{file}:Masked,standard", "fgsm,adaptive")
    assert attacked(plan, "Masked") == {"fgsm", "adaptive:unmask"}
    assert attacked(plan, "standard") == {"fgsm"}
    assert attacked(planned(f"{file}:Masked", "fgsm"), "Masked") == {"fgsm"}
    assert "adaptive:unmask" in attacked(planned(f"{file}:Masked", "all"), "Masked")


def test_two_attacks_of_one_name_are_refused(file):
    with pytest.raises(UsageError, match="two attacks of one name"):
        planned(f"{file}:Twice", "adaptive")
    with pytest.raises(UsageError, match="two defenses bring other attacks as adaptive:unmask"):
        planned(f"{file}:Masked,{file}:Other", "adaptive")


@pytest.fixture(scope="module")
def results(file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adaptive")
    words = [
        sys.executable, "-m", "benchmark", "run",
        "--defense", f"{file}:Masked[epochs=3],standard[epochs=3],trades[epochs=1]",
        "--attacks", "gaussian_noise[eps=0.01],adaptive", "--shots", "0,1", "--limit", "60",
        "--episodes", "1", "--results", str(folder), "--jobs", "2", "--quiet",
    ]  # fmt: skip
    subprocess.run(words, check=True, capture_output=True)
    return folder


def test_it_runs_in_processes_and_counts_in_the_union_alone(results):
    frame = load(results)
    own = frame[frame["attack"] == "adaptive:unmask"]
    assert set(own["defense"]) == {"mine.py:Masked[epochs=3]"}
    assert (own["robust"] < own["clean"]).all()
    table = headline(frame)
    whole = table[(table["scope"] == "all") & (table["shots"] == 0)]
    masked = whole[whole["defense"].str.contains("Masked")].set_index("over")
    noise = frame[(frame["attack"] != "adaptive:unmask") & (frame["shots"] == 0)]
    alone = noise[noise["defense"].str.contains("Masked")]["robust"].item()
    assert masked.loc["family mean", "robust"] == pytest.approx(alone)
    assert masked.loc["union", "robust"] <= own[own["shots"] == 0]["robust"].item()
    assert set(whole["status"]) == {"done"}  # others lack nothing
    assert whole["rank"].notna().all()


def test_the_board_ranks_on_what_all_have_and_shows_the_worst_family(results):
    assert len(gather([results])) == 8
    table = board(load(results))
    assert table["rank"].notna().all()
    masked = table[table["defense"].str.contains("Masked") & (table["threat"] == "all")]
    assert (masked["worst_family"] == "linf-gradient").all()


def test_contracts_check_it_too(file, command):
    found = command("contract", "--defense", f"{file}:Masked")
    assert found.code == 1  # it is no optimum of a linear model
    assert "FAILED  its own attacks keep the rules: expected unmask to keep the rules" in found.out
    assert "it brings no attacks" in command("contract", "--defense", "standard").out
