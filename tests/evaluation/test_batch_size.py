"""How many images go at once, and examples made in pieces by several workers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.autoattack.square import SquareLinf
from attacks.gradient import PGDLinf
from benchmark.evaluation import batch_size
from benchmark.evaluation.batch_size import FEWER, MAX_BATCH, activation_bytes, pieces_for
from benchmark.evaluation.verdicts import frozen


def test_what_a_pass_keeps_is_measured():
    """ReLU keeps its answers, a frozen linear layer nothing that grows with the images."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    assert activation_bytes(frozen(net), torch.rand(9, 1, 8, 8)) == 32 * 4
    assert activation_bytes(net, torch.rand(9, 1, 8, 8)) == (32 + 64 + 32) * 4
    assert activation_bytes(nn.Flatten(), torch.rand(9, 1, 8, 8)) == 0


def test_a_model_that_does_not_answer_a_few_images_is_attacked_all_the_same():
    class Many(nn.Flatten):
        def forward(self, images):
            assert len(images) > 2, "too few"
            return super().forward(images)

    found = pieces_for(PGDLinf(0.1), Many(), torch.rand(600, 1, 28, 28))
    assert [len(rows) for rows in found] == [300, 300]


@pytest.mark.parametrize(
    ("room", "passes", "expected"),
    [
        (1 << 30, 81, [500, 500, 500]),
        (150 * 128, 81, [150] * 10),
        (1, 81, [100] * 15),
        (1 << 30, 2000, [FEWER] * 6),
        (215 * 128, 2000, [188] * 4 + [187] * 4),
    ],
    ids=["at most so many", "as many as fit", "at least so many", "fewer if costly", "and even"],
)
def test_as_many_as_fit_go_at_once(monkeypatch, room, passes, expected):
    monkeypatch.setitem(batch_size.ROOM, "cpu", room)
    monkeypatch.setattr(batch_size, "TINY", 0)
    monkeypatch.setattr(PGDLinf, "passes", passes)
    assert MAX_BATCH["cpu"] == 500
    net = frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    found = pieces_for(PGDLinf(0.1), net, torch.rand(1500, 1, 8, 8))
    assert [len(rows) for rows in found] == expected
    assert torch.cat(found).tolist() == list(range(1500))


def test_tiny_images_go_at_once_however_costly_the_attack():
    """Half of the digits take nearly as long as all."""
    attack, net = SquareLinf(0.1), frozen(nn.Flatten())
    assert [len(rows) for rows in pieces_for(attack, net, torch.rand(397, 1, 8, 8))] == [397]
    assert [len(rows) for rows in pieces_for(attack, net, torch.rand(397, 1, 28, 28))] == [199, 198]


def test_of_large_images_no_more_go_at_once_than_surely_fit(monkeypatch):
    monkeypatch.setitem(batch_size.ROOM, "cpu", 1)
    net = frozen(nn.Sequential(nn.Flatten(), nn.ReLU()))
    found = pieces_for(PGDLinf(0.1), net, torch.rand(6, 3, 224, 224))
    assert [len(rows) for rows in found] == [2, 2, 2]
