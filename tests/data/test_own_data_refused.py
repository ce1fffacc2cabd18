"""What makes no data set of a user's: said in one line, before anything runs."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from own_images import MEDMNIST, images_in, npz, pixels
from PIL import Image

from benchmark.core.errors import UsageError
from benchmark.data import own, torch_dataset
from benchmark.data.load import facts_of
from benchmark.data.own import own_dataset


@pytest.fixture(autouse=True)
def fresh():
    """What was read is kept by its name."""
    for cached in (own.read_own, own.own_dataset, torch_dataset.datasets_in):
        cached.cache_clear()


def broken(**changed):
    return {"images": pixels(40, 8, 8), "labels": np.arange(40) % 2} | changed


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (broken(labels=(np.arange(40) % 2).astype(float)), "labels are float64; expected whole"),
        (broken(labels=np.eye(2, dtype=int)[np.arange(40) % 2]), "one-hot or several an image"),
        (broken(labels=np.arange(40) % 2 + 1), "labels run from 1 to 2; expected them from 0"),
        (broken(labels=np.arange(40) % 2 - 1), "labels begin at -1"),
        (broken(labels=np.arange(39) % 2), r"40 images have labels \(39,\)"),
        (broken(labels=np.arange(40) % 2 * 2), "class 1 has no image"),
        (broken(labels=np.zeros(40, int)), "1 classes; expected 2 to 1000"),
        (broken(images=pixels(40, 8, 8).astype(np.uint16)), "images are uint16; expected uint8"),
        (broken(images=np.full((40, 8, 8), np.nan)), "expected finite values"),
        (broken(images=pixels(40, 8, 8) * 1.0), r"expected values in \[0, 1\].*divide by 255"),
        (broken(images=pixels(40, 4, 8)), "sides of 8 to 224 pixels"),
        (broken(images=pixels(40, 8, 8, 4)), "1 or 3 channels"),
        (broken(images=pixels(40, 64)), r"expected \(n, height, width\)"),
        (broken(images=np.array([None] * 40)), "Python objects, and loading those could run code"),
        ({"pictures": pixels(40, 8, 8)}, "holds pictures; expected images and labels"),
        ({"images": pixels(40, 8, 8)}, "no labels for images"),
    ],
)
def test_arrays_that_make_no_data_set(tmp_path, arrays, message):
    with pytest.raises(UsageError, match=message) as error:
        own_dataset(npz(tmp_path / "x.npz", **arrays), 0)
    assert "\n" not in str(error.value) and "x.npz" in str(error.value)


@pytest.mark.parametrize(("count", "left"), [(1, "train"), (2, "train"), (3, None)])
def test_a_class_too_small_to_be_split_is_named(tmp_path, count, left):
    labels = (np.arange(80) >= 80 - count).astype(int)
    text = npz(tmp_path / "x.npz", images=pixels(80, 9, 9), labels=labels)
    if left is None:
        assert own_dataset(text, 0).train.labels.bincount().min() == 1
        return
    with pytest.raises(UsageError, match=f"class 1 has too few images.*none is left in {left}"):
        own_dataset(text, 0)


def test_a_class_of_one_group_is_in_one_part_alone(tmp_path):
    labels = np.arange(80) % 2
    patient = np.where(labels == 1, 99, np.arange(80))
    text = npz(tmp_path / "x.npz", images=pixels(80, 9, 9), labels=labels, patient=patient)
    with pytest.raises(UsageError, match="class 1 has too few images, or groups, to be split"):
        own_dataset(f"{text}[group=patient]", 0)


def test_a_class_that_nothing_can_be_shown_of(tmp_path, run):
    text = npz(tmp_path / "x.npz", **MEDMNIST | {"val_labels": np.zeros((20, 1), int)})
    assert facts_of(text).most_shots == 0
    ended = run("--dataset", text, "--shots", 1)
    assert ended.code == 2 and "0 validation images per class to show" in ended.err


def test_a_class_that_is_missing_is_named(tmp_path):
    table = {**MEDMNIST, "test_labels": np.zeros((30, 1), int)}
    with pytest.raises(UsageError, match="class 1 has no image in test"):
        own_dataset(npz(tmp_path / "x.npz", **table), 0)
    with pytest.raises(UsageError, match=r"class 1 \(dog\) has no image in test"):
        for part, names in (("train", ("cat", "dog")), ("test", ("cat",))):
            images_in(tmp_path / "pets" / part, names=names)
        own_dataset(f"folder:{tmp_path / 'pets'}", 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder:nowhere", "no folder nowhere"),
        ("npz:nowhere.npz", "no file nowhere.npz"),
        ("nowhere.py:D", "no file nowhere.py"),
        ("zip:x", "unknown kind of data set zip:x; expected folder:DIR"),
        ("folder:empty", "empty: no images"),
        ("folder:half", "half has train; expected train and test, or neither"),
        ("folder:pets[size=a]", "expected size to be a number"),
        ("folder:pets[colour=1]", "unknown option colour"),
        ("folder:corrupt", r"corrupt/cat/0.png: not an image that can be read"),
        ("folder:mixed", "convert them$"),
        ("folder:alpha", "images differ|mode RGBA"),
        ("npz:pickled.npz", "refused pickled.npz"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    images_in(tmp_path / "pets")
    (tmp_path / "empty").mkdir()
    images_in(tmp_path / "half" / "train")
    (images_in(tmp_path / "corrupt") / "cat" / "0.png").write_bytes(b"no image")
    Image.new("L", (10, 8)).save(images_in(tmp_path / "mixed") / "cat" / "0.png")
    Image.new("RGBA", (10, 8)).save(images_in(tmp_path / "alpha") / "cat" / "0.png")
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps({"images": 1}))
    with pytest.raises(UsageError, match=message) as error:
        own_dataset(text, 0)
    assert "\n" not in str(error.value)


def test_more_shots_than_the_rarest_class_has_are_refused(tmp_path, run):
    labels = np.r_[np.zeros(30, int), np.ones(8, int)]
    text = npz(tmp_path / "x.npz", images=pixels(38, 8, 8), labels=labels)
    most = facts_of(text).most_shots
    ended = run("--dataset", text, "--shots", most + 1)
    assert ended.code == 2 and f"npz:x.npz has {most} validation images per class" in ended.err
