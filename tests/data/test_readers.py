"""The readers of published files; none of them may execute what a file says."""

import gzip
import hashlib
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmark.core.errors import UsageError
from benchmark.data.readers import parse_cifar, parse_idx, parse_svhn, read_idx, read_published

HERE = Path("some_file")
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 5), dtype=np.uint8)
LABELS = np.arange(6, dtype=np.uint8)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_idx_files_are_read():
    images, labels = parse_idx([idx(IMAGES), idx(LABELS)], HERE)
    assert np.array_equal(images, IMAGES[:, None])
    assert labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(IMAGES)[:-1], "expected 120 values, got 119"),
        (idx(IMAGES) + b"0", "expected 120 values, got 121"),
        (idx(IMAGES)[:9], "expected .* values"),
        (b"", "expected an idx file"),
        (b"<html>404</html>", "expected an idx file"),
    ],
)
def test_a_broken_idx_file_is_named(content, message):
    with pytest.raises(UsageError, match=f"some_file: {message}"):
        read_idx(content, HERE)


def test_plain_and_packed_files_hold_the_same(tmp_path):
    content = idx(IMAGES)
    plain, packed = tmp_path / "plain", tmp_path / "packed.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    md5 = hashlib.md5(content).hexdigest()
    assert read_published(plain, md5) == read_published(packed, md5) == content


@pytest.mark.parametrize("kept", [0, 5, 30])
def test_a_truncated_download_is_named(tmp_path, kept):
    content = gzip.compress(idx(IMAGES))
    file = tmp_path / "images.gz"
    file.write_bytes(content[:kept])
    with pytest.raises(UsageError, match=r"images\.gz: .*--download"):
        read_published(file, hashlib.md5(idx(IMAGES)).hexdigest())


@pytest.mark.parametrize("key", [b"labels", b"fine_labels"])
def test_a_cifar_batch_is_read(key):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), dtype=np.uint8)
    content = pickle.dumps({b"data": pixels, key: [2, 0, 1]}, protocol=4)
    images, labels = parse_cifar([content], HERE)
    assert labels.tolist() == [2, 0, 1]
    red, green, blue = (pixels[1, start : start + 1024] for start in (0, 1024, 2048))
    assert np.array_equal(images[1].reshape(3, -1), np.stack([red, green, blue]))


class Command:
    def __init__(self, call, *arguments):
        self.reduced = call, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    ("call", "arguments", "name"),
    [
        (os.system, ("touch executed",), "system"),
        (eval, ("__import__('pathlib').Path('executed').touch()",), "eval"),
    ],
)
def test_a_cifar_batch_that_runs_code_is_refused(tmp_path, monkeypatch, call, arguments, name):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({b"data": Command(call, *arguments), b"labels": [0]}, protocol=4)
    with pytest.raises(UsageError, match=f"some_file: .*refused: it asks for .*{name}"):
        parse_cifar([content], HERE)
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)  # the control: read without care, it does run
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pickle.dumps([1]), pickle.dumps({b"data": 1})]
)
def test_a_broken_cifar_batch_is_named(content):
    with pytest.raises(UsageError, match="some_file: not a CIFAR batch"):
        parse_cifar([content], HERE)


def test_svhn_is_read_and_its_10_is_a_0(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    savemat(tmp_path / "svhn.mat", {"X": pixels, "y": np.array([[10], [1], [9], [5]])})
    images, labels = parse_svhn([(tmp_path / "svhn.mat").read_bytes()], HERE)
    assert labels.tolist() == [0, 1, 9, 5]
    assert np.array_equal(images[2, 1], pixels[:, :, 1, 2])


def test_a_broken_svhn_file_is_named():
    with pytest.raises(UsageError, match="some_file: not an SVHN file"):
        parse_svhn([b"nonsense"], HERE)
