"""Data sets of the user's: read as they are, and split."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import torch
from own_images import MEDMNIST, images_in, npz, pixels
from PIL import Image

from benchmark.core.errors import AuditError, UsageError
from benchmark.core.images import StoredImages
from benchmark.data import image_folder, own, torch_dataset
from benchmark.data.load import load
from benchmark.data.own import own_dataset
from benchmark.data.splits import check_disjoint, support_and_query


@pytest.fixture(autouse=True)
def fresh():
    """What was read is kept by its name."""
    for cached in (own.read_own, own.own_dataset, torch_dataset.datasets_in):
        cached.cache_clear()


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
