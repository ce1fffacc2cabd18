"""What cells share must not leak from one model, budget or process into another."""

from benchmark.core.records import Record
from benchmark.executors import Job, fill
from benchmark.place import Place
from benchmark.plan import make_request
from tests.tiny_runs import lab_for, record_of, run, tiny_plan

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
    assert one.outcome == among.outcome


def test_several_processes_give_the_records_of_one(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.executors.WORTHWHILE", 0)
    values = {
        "defenses": "standard[epochs=2]", "attacks": "pgd_linf[steps=3],uniform_noise,tifgsm",
        "shots": [0, 1], "episodes": 2, "limit": 40,
    }  # fmt: skip
    plan = tiny_plan(**values)
    single = run(plan, tmp_path / "one")
    lab = lab_for(plan, tmp_path / "two")
    ended = fill(lab, Job(make_request(values), "main", Place(tmp_path / "two")), 2)
    assert ended == single.ended == {"done": 4, "skipped": 2}
    found = [record_of(tmp_path / "two", cell) for cell in plan.cells]
    assert [record.outcome for record in found] == [record.outcome for record in single.records]
    assert lab.watch.trained, "the parent trains, not the workers"
    again = fill(lab, Job(make_request(values), "main", Place(tmp_path / "two")), 2)
    assert again == {"cached": 6}
