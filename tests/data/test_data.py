"""Splits, support and query. What a file holds is tests/data/test_readers.py."""

import hashlib
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from benchmark.core.errors import AuditError, UsageError
from benchmark.core.seeding import stream
from benchmark.core.types import Split
from benchmark.data import load
from benchmark.data.catalog import DATASETS, Facts
from benchmark.data.splits import (
    check_batch,
    check_disjoint,
    draw_support,
    join,
    minibatches,
    support_and_query,
)


@pytest.fixture(scope="module")
def digits():
    return load.load("digits", None, False, 0)


def test_digits_are_scikit_learns(digits):
    published = load_digits()
    for split in (digits.train, digits.validation, digits.test):
        expected = torch.tensor(published.images[split.ids] / 16, dtype=torch.float32)
        assert torch.equal(split.images()[:, 0], expected)
        assert split.labels.tolist() == published.target[split.ids].tolist()


def test_digits_are_split_as_documented(digits):
    sizes = tuple(len(split) for split in (digits.train, digits.validation, digits.test))
    assert sizes == DATASETS["digits"].sizes
    assert digits.test.ids.tolist() == list(range(1400, 1797))
    everything = join([digits.train, digits.validation, digits.test]).ids
    assert sorted(everything.tolist()) == list(range(1797))
    assert digits.validation.labels.bincount().tolist() == [40] * 10


def test_the_seed_draws_validation_and_nothing_else(digits):
    again, other = (load.load("digits", None, False, seed) for seed in (0, 1))
    assert again.hash == digits.hash != other.hash
    assert set(other.validation.ids.tolist()) != set(digits.validation.ids.tolist())
    assert other.test.hash == digits.test.hash


def test_hash_sees_one_pixel_one_label_and_the_order(digits):
    split = digits.test
    raw, labels = split.raw.clone(), split.labels.clone()
    raw[3, 0, 4, 4] += 1 / 16
    labels[3] = (labels[3] + 1) % 10
    changed = [
        Split(raw, split.labels, split.ids),
        Split(split.raw, labels, split.ids),
        split.take(torch.arange(len(split)).flip(0)),
    ]
    assert len({split.hash, *(other.hash for other in changed)}) == 4


def test_bytes_become_numbers_from_0_to_1():
    raw = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    split = Split(raw, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    assert torch.equal(split.images().flatten(), torch.tensor([0, 0.2, 1]))
    assert split.shape == (1, 1, 1)


@pytest.mark.parametrize("shots", [0, 1, 3, 5])
def test_support_is_balanced_and_nested(digits, shots):
    many = draw_support(digits.validation, 10, 10, stream("test"))
    few = draw_support(digits.validation, shots, 10, stream("test"))
    assert few.labels.bincount(minlength=10).tolist() == [shots] * 10
    assert few.ids.tolist() == many.first(10 * shots).ids.tolist()


def test_too_few_images_of_a_class(digits):
    with pytest.raises(UsageError, match=r"class 0 has 40 images, 41 are needed; .* at most 40"):
        draw_support(digits.validation, 41, 10, stream("test"))


def test_episodes_differ_and_the_query_does_not(digits):
    first, again = (support_and_query(digits, 5, 0, 0, 100) for _ in range(2))
    other = support_and_query(digits, 5, 0, 1, 100)
    assert first.support.hash == again.support.hash != other.support.hash
    assert first.query.hash == other.query.hash
    assert first.query.ids.tolist() == digits.test.ids[:100].tolist()
    assert set(first.support.ids.tolist()) <= set(digits.validation.ids.tolist())


def test_support_leaking_into_the_query_is_refused(digits):
    support, query = support_and_query(digits, 1, 0, 0, 100)
    check_disjoint(support, query)
    leaked = join([support, query.take(torch.tensor([7]))])
    with pytest.raises(AuditError, match=r"share 1 of 100 query images \(ids 1407\)"):
        check_disjoint(leaked, query)


def test_an_epoch_shows_every_image_once_in_another_order(digits):
    split = Split(digits.test.raw, torch.arange(len(digits.test)), digits.test.ids)
    epoch = list(minibatches(split, 64, stream("test")))
    order = torch.cat([batch.labels for batch in epoch]).tolist()
    assert [len(batch.labels) for batch in epoch] == [64] * 6 + [13]
    assert order != sorted(order) == list(range(len(split)))
    assert torch.equal(epoch[0].images, split.images(epoch[0].labels))


@pytest.mark.parametrize(
    ("pixel", "label", "message"),
    [
        (1.5, 0, r"expected values in \[0, 1\], got \[0, 1.5\]"),
        (-0.1, 0, r"got \[-0.1, 0\]"),
        (float("nan"), 0, "expected finite values"),
        (0.0, 10, "expected 0 to 9, got 0 to 10"),
        (0.0, -1, "expected 0 to 9, got -1 to 0"),
    ],
)
def test_images_and_labels_out_of_range(pixel, label, message):
    images, labels = torch.zeros(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    check_batch(images, labels, 10)
    images[1, 0, 2, 2], labels[1] = pixel, label
    with pytest.raises(UsageError, match=message):
        check_batch(images, labels, 10)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(2).long(), r"got float32 \(2, 4, 4\)"),
        (torch.zeros(2, 1, 4, 4).byte(), torch.zeros(2).long(), "got uint8"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(3).long(), r"expected int64 \(2,\), got"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2), "got float32"),
    ],
)
def test_images_and_labels_of_the_wrong_kind(images, labels, message):
    with pytest.raises(UsageError, match=message):
        check_batch(images, labels, 10)


def test_unknown_data_set():
    with pytest.raises(UsageError, match="did you mean cifar10"):
        load.load("cifar-10", None, False, 0)


@pytest.mark.parametrize("name", [name for name, facts in DATASETS.items() if facts.torchvision])
def test_a_folder_without_the_data(name, tmp_path, monkeypatch):
    monkeypatch.setenv("REATTACK_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(UsageError) as error:
        load.load(name, None, False, 0)
    assert str(tmp_path / "elsewhere") in str(error.value)
    assert "--data-dir" in str(error.value)
    assert "\n" not in str(error.value)
    assert load.unavailable(name, None) == str(error.value)


def test_embedded_data_is_always_there(tmp_path):
    assert load.unavailable("digits", tmp_path) is None


def test_a_download_that_fails_is_one_line(tmp_path, monkeypatch, capsys):
    def fetch(root, download):
        print("Downloading")
        raise URLError("no route\nto host")

    fake = SimpleNamespace(datasets=SimpleNamespace(MNIST=fetch))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    with pytest.raises(UsageError) as error:
        load.load("mnist", tmp_path, True, 0)
    assert "no route to host" in str(error.value)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.fixture
def three_parts(tmp_path, monkeypatch):
    """A data set of three training parts of 20 images, the second of which is not there."""
    noise, md5 = np.random.default_rng(0), {}
    folder = tmp_path / "noise-py"
    folder.mkdir()
    for name in ("part_1", "part_2", "part_3", "test"):
        data = noise.integers(0, 256, (20, 3072), dtype=np.uint8)
        labels = [position % 2 for position in range(20)]
        content = pickle.dumps({b"data": data, b"labels": labels}, protocol=4)
        md5[name] = hashlib.md5(content).hexdigest()
        if name != "part_2":
            (folder / name).write_bytes(content)
    train = tuple({name: md5[name]} for name in ("part_1", "part_2", "part_3"))
    facts = Facts(
        (3, 32, 32), 2, (50, 10, 20), "Noise", folder.name, train, ({"test": md5["test"]},)
    )
    monkeypatch.setitem(DATASETS, "noise", facts)
    return folder


def test_some_training_parts_are_enough_and_named(three_parts):
    dataset = load.load("noise", three_parts.parent, False, 0)
    trained = sorted(join([dataset.train, dataset.validation]).ids.tolist())
    assert trained == [*range(20), *range(40, 60)]
    assert dataset.test.ids.tolist() == list(range(60, 80))
    assert dataset.source == "published files part_1, part_3, test (2 of 3 training parts)"


def test_the_folder_itself_will_do(three_parts):
    parent, itself = (
        load.load("noise", directory, False, 0) for directory in (three_parts.parent, three_parts)
    )
    assert itself.hash == parent.hash


@pytest.mark.parametrize("gone", [["test"], ["part_1", "part_3"]])
def test_the_test_part_and_some_training_part_are_needed(three_parts, gone):
    for name in gone:
        (three_parts / name).unlink()
    with pytest.raises(UsageError, match=f"{gone[0]}.* not found in"):
        load.load("noise", three_parts, False, 0)


def test_a_changed_file_is_named(three_parts):
    file = Path(three_parts / "part_1")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"part_1: not the published file \(expected md5"):
        load.load("noise", three_parts, False, 0)
