"""Every registered attack and defense keeps its contract."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from attacks import ATTACKS
from baselines import DEFENSES
from benchmark.cli.app import app
from benchmark.contracts import attack_rules, defense_rules
from benchmark.contracts.defense_probe import network_for
from benchmark.contracts.suite import of_attack, of_defense
from benchmark.core.errors import UsageError


def failed(checks):
    return {check.name: check.message for check in checks if check.status == "failed"}


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_keeps_its_contract(name):
    checks = list(of_attack(name))
    assert failed(checks) == {}
    assert len(checks) == len(attack_rules.NEEDED + attack_rules.RULES)
    assert {check.name: check.status for check in checks}["stays in the budget"] == "passed"


@pytest.fixture
def spec_of(tmp_path):
    """How to ask for a defense: a checkpoint needs a file."""

    def spec(name):
        if name != "checkpoint":
            return name
        save_file(network_for("digits").state_dict(), tmp_path / "weights.safetensors")
        return f"checkpoint[path={tmp_path / 'weights.safetensors'},trained_on=noise]"

    return spec


@pytest.mark.parametrize("name", DEFENSES.names())
def test_every_defense_keeps_its_contract(name, spec_of):
    checks = list(of_defense(spec_of(name)))
    assert failed(checks) == {}
    assert len(checks) == len(defense_rules.NEEDED + defense_rules.RULES)


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="did you mean pgd_linf"):
        list(of_attack("pgd_lin"))
    with pytest.raises(UsageError, match="did you mean standard"):
        list(of_defense("standart"))


MODELS = """
from torch import nn

honest = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
softmax = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(dim=1))
"""


@pytest.mark.parametrize(("name", "code"), [("honest", 0), ("softmax", 1)])
def test_the_command_prints_a_line_for_each_rule(tmp_path, name, code):
    (tmp_path / "mine.py").write_text(MODELS)
    done = CliRunner().invoke(app, ["contract", "--defense", f"{tmp_path}/mine.py:{name}"])
    assert done.exit_code == code
    lines = done.output.splitlines()
    assert len(lines) == len(defense_rules.NEEDED + defense_rules.RULES)
    assert {line[:8].strip() for line in lines} <= {"ok", "skipped", "FAILED"}
    assert ("FAILED  gives logits not probabilities: expected logits" in done.output) == bool(code)
