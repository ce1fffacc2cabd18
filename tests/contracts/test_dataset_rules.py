"""The contract of data sets: sound ones keep it, broken ones are told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark.contracts import dataset_rules as rules
from benchmark.contracts.check import check
from benchmark.contracts.dataset_rules import DatasetUnderTest, check_dataset
from benchmark.core.types import Split
from benchmark.data.splits import Dataset


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "x.npz", images=images, labels=np.arange(200) % 4)
    return f"npz:{tmp_path / 'x.npz'}"


def test_sound_ones_keep_it(npz, command):
    for text in ("digits", npz):
        assert [one.status for one in check_dataset(text, None)] == ["passed"] * 6
    ended = command("contract", "--dataset", npz)
    assert ended.code == 0 and "x.npz: 1x8x8, 4 classes" in ended.out
    assert command("contract", "--dataset", "npz:nowhere.npz").code == 1


def broken(train, test):
    found = DatasetUnderTest("broken", None)
    found.__dict__["dataset"] = Dataset("broken", 2, train, train.first(4), test, "", 0)
    return found


def split(ids, labels=None, value=0.5):
    n = len(ids)
    images = torch.full((n, 1, 8, 8), value) + torch.arange(n).view(-1, 1, 1, 1) / 1000
    found = torch.arange(n) % 2 if labels is None else torch.tensor(labels)
    return Split(images, found, torch.tensor(ids))


@pytest.mark.parametrize(
    ("rule", "train", "test", "message"),
    [
        (
            rules.has_no_image_in_two_parts,
            split(range(8)),
            split(range(6, 9)),
            "every image in one",
        ),
        (rules.has_every_class_in_every_part, split(range(8)), split([9, 10], [1, 1]), "in test"),
        (
            rules.gives_images_in_range,
            split(range(8), value=1.5),
            split([9]),
            r"values in \[0, 1\]",
        ),
    ],
)
def test_a_broken_one_fails_its_check(rule, train, test, message):
    found = check(rule, broken(train, test))
    assert found.status == "failed"
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(found.message)


def test_exact_copies_are_remarked_on():
    train, test = split(range(8)), split(range(20, 23))
    subject = broken(train.take(torch.arange(4, 8)), test)
    subject.dataset.__dict__.update(validation=train.first(2))
    found = check(rules.has_no_image_in_two_parts, subject)
    assert "2 test images have an exact copy" in found.message
