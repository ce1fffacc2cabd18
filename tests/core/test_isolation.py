"""Whatever a user's file sets for everybody, nobody else's numbers change."""

from __future__ import annotations

import gc
import os
import signal
import sys
import warnings

import numpy as np
import pytest
import torch
from tiny_runs import run, tiny_plan

from benchmark.core import isolation
from benchmark.core.isolation import kept
from benchmark.core.seeding import global_hash

MINE = """
import gc
import io
import os
import random
import signal
import sys
import warnings

import numpy as np
import torch
from torch import nn

CALLS = {"import": 0, "built": 0, "forward": 0}


def interfere(where):
    CALLS[where] += 1
    if where == WHERE:
        SETTING


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        interfere("built")
        self.head = nn.Linear(64, 10, dtype=torch.float32)

    def forward(self, images):
        interfere("forward")
        return self.head(images.flatten(1))


interfere("import")
"""
SETTINGS = {
    "grad mode": ("torch.set_grad_enabled(False)", torch.is_grad_enabled),
    "inference mode": ("torch.inference_mode().__enter__()", torch.is_inference_mode_enabled),
    "dtype": ("torch.set_default_dtype(torch.float64)", torch.get_default_dtype),
    "device": ("torch.set_default_device('meta')", torch.get_default_device),
    "threads": ("torch.set_num_threads(2)", torch.get_num_threads),
    "deterministic": (
        "torch.use_deterministic_algorithms(True)", torch.are_deterministic_algorithms_enabled
    ),
    "matmul": (
        "torch.set_float32_matmul_precision('medium')", torch.get_float32_matmul_precision
    ),
    "seed": ("torch.manual_seed(3); np.random.seed(3); random.seed(3)", global_hash),
    "autocast": (
        "torch.autocast('cpu', torch.bfloat16).__enter__()",
        lambda: torch.is_autocast_enabled("cpu"),
    ),
    "hook": (
        "nn.modules.module.register_module_forward_hook(lambda m, a, out: out * 0)",
        lambda: len(torch.nn.modules.module._global_forward_hooks),
    ),
    "folder": ("os.chdir('/')", os.getcwd),
    "path": ("sys.path.insert(0, '/nowhere')", lambda: [*sys.path]),
    "new path": ("sys.path = ['/nowhere', *sys.path]", lambda: [*sys.path]),
    "variable": ("os.environ['MINE'] = '1'", lambda: os.environ.get("MINE")),
    "numpy": ("np.seterr(all='raise')", np.geterr),
    "warnings": ("warnings.simplefilter('error')", lambda: [*warnings.filters]),
    "garbage": ("gc.disable()", gc.isenabled),
    "ctrl-c": (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)", lambda: signal.getsignal(signal.SIGINT)
    ),
    "output": ("sys.stdout = io.StringIO()", lambda: sys.stdout),
}  # fmt: skip
WHERE = ("import", "built", "forward")


def mine(folder, name, where):
    """A file that sets this, there."""
    file = folder / "mine.py"
    text = MINE.replace("WHERE:", f"{where!r}:").replace("SETTING", SETTINGS[name][0])
    file.write_text(text)
    return f"{file}:Net"


def standard_beside(folder, *others):
    """All that is no time in the records of `standard`, which runs after others."""
    defenses = ",".join((*others, "standard[epochs=1]"))
    found = run(tiny_plan("pgd_linf[steps=2]", defenses, limit=20, episodes=1), folder).records
    assert [record.cell.defense for record in found] == [
        *("mine.py:Net" for _ in others for _ in (0, 1)), *["standard[epochs=1]"] * 2
    ]  # fmt: skip
    kept = [record for record in found if record.cell.defense == "standard[epochs=1]"]
    assert [record.reason for record in kept] == [None] * 2
    return [(one.outcome, one.answers, one.fingerprint, one.flags) for one in kept]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return standard_beside(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_neighbour_changes_no_number(tmp_path, alone, name, where):
    read = SETTINGS[name][1]
    before = read()
    assert standard_beside(tmp_path / "results", mine(tmp_path, name, where)) == alone
    assert read() == before


def test_a_region_of_autocast_that_is_never_left_keeps_no_weights_for_others():
    """Torch keeps what it cast until the last region ends, whoever opened it."""
    layer, ones = torch.nn.Linear(4, 4, bias=False), torch.ones(1, 4)

    def answered(weight):
        with torch.no_grad():
            layer.weight.fill_(weight)
        with torch.autocast("cpu", torch.bfloat16):
            return float(layer(ones)[0, 0].detach())

    with kept():
        torch.autocast("cpu", torch.bfloat16).__enter__()
        assert [answered(1.0), answered(2.0)] == [4.0, 4.0], "of then: this is what is put right"
    assert [answered(weight) for weight in (3.0, 1.0)] == [12.0, 4.0]


@pytest.mark.parametrize(("name", "where"), [("grad mode", "import"), ("hook", "forward")])
def test_without_the_guard_it_would(tmp_path, alone, monkeypatch, name, where):
    """So that what is tested above can fail."""
    with kept(), monkeypatch.context() as patch:
        patch.setattr(isolation, "SETTINGS", ())
        with pytest.raises(AssertionError):
            assert standard_beside(tmp_path / "results", mine(tmp_path, name, where)) == alone
