"""What cells share must not leak from one model, budget or process into another."""

import numpy as np
from tiny_runs import run, tiny_plan

from benchmark.results.records import Record

SAME_WEIGHTS = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(10, 64, generator=generator))

    def forward(self, images):
        return (images.flatten(1) - 0.5) @ self.weight.T

class Mirrored(Plain):
    def forward(self, images):
        return super().forward(images.flip(-1))
"""


def verdicts(record: Record):
    return record.outcome.model_dump(exclude={"moved", "support_loss"})


def test_equal_weights_behind_other_code_are_another_model(tmp_path):
    file = tmp_path / "given.py"
    file.write_text(SAME_WEIGHTS)
    both = run(tiny_plan(defenses=f"{file}:Plain,{file}:Mirrored", shots=[0]), tmp_path / "both")
    alone = run(tiny_plan(defenses=f"{file}:Mirrored", shots=[0]), tmp_path / "alone")
    plain, mirrored = both.records
    assert verdicts(mirrored) == verdicts(alone.records[0]) != verdicts(plain)


def test_a_budget_does_not_depend_on_the_others_of_the_plan(tmp_path):
    one = run(tiny_plan(shots=[1]), tmp_path / "one").only(shots=1)
    among = run(tiny_plan(shots=[0, 1, 3]), tmp_path / "three").only(shots=1)
    losses = {"support_loss", "moved"}  # their last bits depend on what is in the batch
    assert one.outcome.model_dump(exclude=losses) == among.outcome.model_dump(exclude=losses)
    for what in losses:
        assert np.allclose(getattr(one.outcome, what), getattr(among.outcome, what), atol=1e-5)
