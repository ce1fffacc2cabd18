"""Data sets of the user's: read, split, and whatever is wrong with them said in one line."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.core.errors import AuditError, UsageError
from benchmark.core.images import StoredImages
from benchmark.data import image_folder, own, torch_dataset
from benchmark.data.load import facts_of, load
from benchmark.data.own import own_dataset
from benchmark.data.splits import check_disjoint, support_and_query


@pytest.fixture(autouse=True)
def fresh():
    """What was read is kept by its name."""
    for cached in (own.read_own, own.own_dataset, torch_dataset.datasets_in):
        cached.cache_clear()


def pixels(n, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


def images_in(root, count=6, size=(10, 8), mode="RGB", names=("cat", "dog")):
    """Files of each class, all of them different."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
            array = pixels(1, *shape, seed=100 * label + number)[0]
            Image.fromarray(array, mode).save(root / name / f"{number}.png")
    return root


MEDMNIST = {
    "train_images": pixels(60, 9, 9), "train_labels": (np.arange(60) % 2).astype(np.uint8)[:, None],
    "val_images": pixels(20, 9, 9, seed=1), "val_labels": (np.arange(20) % 2)[:, None],
    "test_images": pixels(30, 9, 9, seed=2), "test_labels": (np.arange(30) % 2)[:, None],
}  # fmt: skip


def test_the_keys_of_medmnist_are_kept_as_they_are(tmp_path):
    found = load(npz(tmp_path / "x.npz", **MEDMNIST), None, False, 3)
    assert (found.name, found.shape, found.classes) == ("npz:x.npz", (1, 9, 9), 2)
    for split, part in ((found.train, "train"), (found.validation, "val"), (found.test, "test")):
        assert np.array_equal(split.raw[:, 0].numpy(), MEDMNIST[f"{part}_images"])
        assert split.labels.tolist() == MEDMNIST[f"{part}_labels"][:, 0].tolist()
    ids = torch.cat([found.train.ids, found.validation.ids, found.test.ids]).tolist()
    assert len(set(ids)) == 110


def test_images_alone_are_split_by_seed_with_the_same_test_part(tmp_path):
    labels = np.repeat(np.arange(4), [50, 100, 30, 20])
    text = npz(tmp_path / "x.npz", images=pixels(200, 8, 8, 3), labels=labels)
    first, other = own_dataset(text, 0), own_dataset(text, 1)
    assert torch.equal(first.test.ids, other.test.ids)
    assert not torch.equal(first.validation.ids, other.validation.ids)
    assert first.test.labels.bincount().tolist() == [10, 20, 6, 4]
    assert "test drawn by us" in first.source and "validation drawn by seed 0" in first.source
    assert len(set(first.test.labels[:20].tolist())) > 2, "the first are not of one class"
    parts = [set(one.ids.tolist()) for one in (first.train, first.validation, first.test)]
    assert len(set.union(*parts)) == 200 == sum(map(len, parts))


def test_groups_stand_on_one_side(tmp_path):
    labels, track = np.repeat(np.arange(3), 60), np.arange(180) // 5
    text = npz(tmp_path / "x.npz", images=pixels(180, 8, 8), labels=labels, track=track)
    found = own_dataset(f"{text}[group=track]", 0)
    assert found.name == "npz:x.npz[group=track]"
    sides = [set(part.groups.tolist()) for part in (found.train, found.validation, found.test)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    episode = support_and_query(found, 2, 0, 0)
    check_disjoint(episode.support, episode.query)
    with pytest.raises(AuditError, match="groups are in support and query"):
        check_disjoint(found.test.take(torch.tensor([0])), found.test)


def test_groups_of_test_images_are_shown_to_nobody(tmp_path):
    table = dict(MEDMNIST)
    for part, n in (("train", 60), ("val", 20), ("test", 30)):
        table[f"{part}_patient"] = np.arange(n) // 2  # the same patients in all parts
    table["val_patient"] = np.arange(20) // 2 + 8
    found = own_dataset(f"{npz(tmp_path / 'x.npz', **table)}[group=patient]", 0)
    assert set(found.validation.groups.tolist()).isdisjoint(found.test.groups.tolist())
    assert len(found.validation) == 6 and len(found.train) == 30


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_folder_of_classes(tmp_path, mode):
    root = images_in(tmp_path / "pets", 20, mode=mode)
    (root / "cat" / "notes.txt").write_text("no image")
    found = own_dataset(f"folder:{root}", 0)
    assert (found.name, found.shape) == ("folder:pets", (3 if mode == "RGB" else 1, 8, 10))
    assert found.class_names == ("cat", "dog")
    file = root / "dog" / "3.png"
    place = torch.cat([found.train.ids, found.validation.ids, found.test.ids]).tolist()
    whole = torch.cat([found.train.raw, found.validation.raw, found.test.raw])
    number = sorted(one.name for one in (root / "dog").iterdir()).index("3.png") + 20
    array = np.asarray(Image.open(file))
    array = array.transpose(2, 0, 1) if mode == "RGB" else array[None]
    assert np.array_equal(whole[place.index(number)].numpy(), array)


def test_a_folder_of_parts(tmp_path):
    for part, count in (("train", 12), ("val", 4), ("test", 6)):
        images_in(tmp_path / part, count)
    found = own_dataset(f"folder:{tmp_path}", 0)
    assert (len(found.train), len(found.validation), len(found.test)) == (24, 8, 12)


def test_more_than_memory_is_read_as_needed(tmp_path, monkeypatch):
    root = images_in(tmp_path / "pets", 20)
    small = own_dataset(f"folder:{root}", 0)
    own.read_own.cache_clear(), own.own_dataset.cache_clear()
    monkeypatch.setattr(image_folder, "IN_MEMORY", 0)
    large = own_dataset(f"folder:{root}", 0)
    assert isinstance(large.train.raw, StoredImages) and not isinstance(
        small.train.raw, StoredImages
    )
    for name in ("train", "validation", "test"):
        stored, held = getattr(large, name), getattr(small, name)
        assert torch.equal(stored.images(), held.images())
        assert torch.equal(stored.first(3).batch().images, held.first(3).batch().images)
    again = pickle.loads(pickle.dumps(large))
    assert torch.equal(again.test.images(), small.test.images()) and again.hash == large.hash
    assert len(pickle.dumps(large.train.raw)) < 20 * len(str(root)) * 40


def test_other_sizes_can_be_cut_to_one(tmp_path):
    root = images_in(tmp_path / "pets", 20)
    Image.new("RGB", (40, 20)).save(root / "cat" / "large.png")
    with pytest.raises(UsageError, match=r"images differ.*large.png 3x20x40.*\[size=N\]"):
        own_dataset(f"folder:{root}", 0)
    assert own_dataset(f"folder:{root}[size=16]", 0).shape == (3, 16, 16)


CODE = """
import torch
from torch.utils.data import Dataset, TensorDataset
rng = torch.Generator().manual_seed(0)
images, labels = torch.rand(80, 1, 8, 8, generator=rng), torch.arange(80) % 4
pair = TensorDataset(images[:60], labels[:60]), TensorDataset(images[60:], labels[60:])
def make():
    return pair[0], TensorDataset(images[:8], labels[:8]), pair[1]
class Breaks(Dataset):
    def __len__(self): return 40
    def __getitem__(self, row):
        if row == 7: raise OSError("disk gone")
        return images[row], int(labels[row])
breaks = Breaks()
number = 3
"""


def test_data_sets_in_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(CODE)
    found = own_dataset(f"{file}:pair", 0)
    assert (found.name, found.shape, found.classes) == ("mine.py:pair", (1, 8, 8), 4)
    assert len(found.test) == 20 and found.test.raw.dtype == torch.float32
    assert len(own_dataset(f"{file}:make", 0).validation) == 8
    with pytest.raises(UsageError, match=r"mine.py:breaks: item 7 cannot be read: OSError: disk"):
        own_dataset(f"{file}:breaks", 0)
    with pytest.raises(UsageError, match="expected a torch Dataset"):
        own_dataset(f"{file}:number", 0)
    with pytest.raises(UsageError, match="none"):
        own_dataset(f"{file}:none", 0)


def parquet(path, n=40, columns=("image", "label")):
    import pyarrow
    from pyarrow import parquet as files

    def encoded(number):
        buffer = io.BytesIO()
        Image.fromarray(pixels(1, 8, 8, 3, seed=number)[0]).save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    data = {columns[0]: [encoded(row) for row in range(n)], columns[1]: [r % 2 for r in range(n)]}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_table(pyarrow.table(data), path)


def test_a_folder_in_the_form_of_the_hub(tmp_path):
    parquet(tmp_path / "data" / "train-00000-of-00001.parquet", 40)
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", 12)
    found = own_dataset(f"hf:{tmp_path}", 0)
    assert (found.shape, found.classes, len(found.test)) == ((3, 8, 8), 2, 12)
    parquet(tmp_path / "other" / "train.parquet", 8, ("picture", "label"))
    with pytest.raises(UsageError, match=r"columns picture, label; expected image and label"):
        own_dataset(f"hf:{tmp_path / 'other'}", 0)


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
