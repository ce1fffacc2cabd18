"""What can go wrong around a run: one clear line, an exit code, and nothing lost."""

import errno
import json
import os
import pickle
import sys
from types import SimpleNamespace
from urllib.error import URLError

import pytest
import torch

from baselines.networks.zoo import build_network
from benchmark.core.seeding import stream
from benchmark.core.types import Split
from benchmark.data import load
from benchmark.protocol import group as runner
from benchmark.results import store
from benchmark.results.store import read_records

DEFENSE = "standard[epochs=1]"

# Models.

BROKEN = """
import torch
from torch import nn

class NotANumber(nn.Flatten):
    def forward(self, images):
        return super().forward(images)[:, :10] * float("nan")

class AlwaysTraining(nn.Flatten):
    def train(self, mode=True):
        return super().train(True)

class WrongShape(nn.Flatten):
    def forward(self, images):
        return super().forward(images)[:, 0]

class Crashing(nn.Flatten):
    def forward(self, images):
        raise RuntimeError("out of\\nluck")
"""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NotANumber", "logits are not finite for 100 of 100 images"),
        ("Crashing", "RuntimeError: out of luck (mine.py:"),
    ],
)
def test_a_model_that_breaks_fails_its_cells_and_no_others(run, tmp_path, name, reason):
    (tmp_path / "mine.py").write_text(BROKEN)
    ended = run("--json", "--quiet", defense=f"{tmp_path}/mine.py:{name},{DEFENSE}")
    assert ended.code == 1
    failed, said = ended.err.splitlines()
    assert failed.startswith(f"failed: digits/mine.py:{name}/mine.py:{name}/s0/fgsm/")
    assert reason in failed
    assert said.startswith("1 cells failed")
    bad, good = json.loads(ended.out)["cells"]
    assert (bad["status"], good["status"]) == ("failed", "done")
    assert reason in bad["reason"]
    assert [bad[key] for key in ("n", "clean", "robust", "inflation")] == [None] * 4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("AlwaysTraining", "the model stays in train mode after eval(); expected"),
        ("WrongShape", "logits (batch, classes) for 100 images, got shape (100,)"),
    ],
)
def test_a_model_that_cannot_be_evaluated_is_refused_first(finished, run, tmp_path, name, reason):
    (tmp_path / "mine.py").write_text(BROKEN)
    defense = f"{DEFENSE},{tmp_path}/mine.py:{name}"
    run("--quiet", defense=defense, attacks="uniform_noise").refused(f"mine.py:{name}: ", reason)
    kept = [record.cell.attack for record in read_records(finished).records]
    assert kept == ["fgsm"], "before anything runs"


# Data.


def test_a_folder_without_the_data(run, tmp_path):
    ended = run("--dataset", "mnist", "--data-dir", tmp_path / "there")
    ended.refused("'mnist'", str(tmp_path / "there"), "--data-dir DIR", "--download")


def test_no_network_for_a_download(run, tmp_path, monkeypatch):
    def fetch(root, download):
        print("Downloading from a place that is not there")
        raise URLError("Name or service\nnot known")

    fake = SimpleNamespace(datasets=SimpleNamespace(MNIST=fetch))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    ended = run("--dataset", "mnist", "--data-dir", tmp_path, "--download", "--quiet")
    assert (ended.code, ended.out) == (2, "")
    said, line = ended.err.splitlines()
    assert said.startswith("Downloading"), "what the library prints stays off standard output"
    assert line.startswith("error: could not download 'mnist'")
    assert "Name or service not known" in line
    assert "check the network" in line


@pytest.mark.parametrize(
    ("pixel", "label", "message"),
    [
        (16.0, 3, "images: expected values in [0, 1], got [0, 16]; scale them"),
        (-0.5, 3, "images: expected values in [0, 1], got [-0.5, 1]"),
        (float("nan"), 3, "images: expected finite values, got NaN"),
        (0.5, 10, "labels: expected 0 to 9, got 0 to 10"),
        (0.5, -1, "labels: expected 0 to 9, got -1 to 9"),
    ],
)
def test_images_and_labels_out_of_range(finished, run, monkeypatch, pixel, label, message):
    train, test = load._read_digits()
    raw, labels = test.raw.clone(), test.labels.clone()
    raw[7, 0, 4, 4], labels[7] = pixel, label
    bad = Split(raw, labels, test.ids)
    monkeypatch.setattr(load, "_read_digits", lambda: (train, bad))
    run().refused(message)


# Checkpoints.


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def lenet():
    return build_network("lenet5", (1, 28, 28), 10, stream("checkpoint")).state_dict()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, ["no checkpoint", "expected a .safetensors, .pt or .pth file"]),
        (b"no weights", ["weights.pt", "where you trust it"]),
        ("malicious", ["refused", "weights.pt", "could run code"]),
        ("lenet", ["weights.pt", "do not fit CNN", "missing", "--network"]),
    ],
)
def test_a_checkpoint_that_will_not_do(finished, run, tmp_path, content, expected):
    file, trap = tmp_path / "weights.pt", tmp_path / "executed"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "malicious":
        file.write_bytes(pickle.dumps({"weight": Malicious(trap)}))
    elif content == "lenet":
        torch.save(lenet(), file)
    run(defense=f"checkpoint[path={file}]").refused(*expected)
    assert not trap.exists()


# The results folder.


def test_a_results_folder_that_cannot_be_is_said_before_training(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setattr(
        "baselines.training.loss_defense.train", lambda *_: pytest.fail("has trained")
    )
    ended = run(results=tmp_path / "file" / "results")
    ended.refused("cannot write", "Not a directory", "expected a writable folder")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_results_folder(finished, run):
    folders = [path for path in finished.rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        run(attacks="uniform_noise").refused("cannot write", "Permission denied")
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_a_full_disk_keeps_what_is_done_and_the_next_run_goes_on(finished, run, monkeypatch):
    def full(_handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    run(attacks="fgsm,uniform_noise").refused("cannot write", "No space left on device", "free")
    monkeypatch.undo()
    assert len(read_records(finished).records) == 1
    again = run("--json", attacks="fgsm,uniform_noise")
    assert (again.code, len(json.loads(again.out)["cells"])) == (0, 2)
    assert "trained" not in again.err, "the model of the first run was kept"


def test_weights_that_do_not_fit_on_the_disk(run, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        ended = run("--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    ended.refused("cannot write", ".safetensors", "File too large")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in left} <= {".lock", ".csv"}


# Ctrl-C.


def test_an_interrupt_is_one_line_and_the_next_run_goes_on(finished, run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "finish", interrupted)
    ended = run("--json", attacks="fgsm,uniform_noise")
    assert (ended.code, ended.out) == (1, "")
    assert ended.line.startswith("interrupted: every finished cell is kept; run the same command")
    monkeypatch.undo()
    again = run("--json", attacks="fgsm,uniform_noise")
    assert again.code == 0
    assert [cell["status"] for cell in json.loads(again.out)["cells"]] == ["done", "done"]


def test_an_interrupt_before_the_first_cell_is_one_line(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmark.cli.launch.make_plan", interrupted)
    ended = run()
    assert (ended.code, ended.out, ended.line) == (1, "", "interrupted")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_on_a_real_run_of_two_processes(ctrl_c, tmp_path):
    attacks = "fgsm,pgd_linf[steps=1000000]"
    words = f"run --defense {DEFENSE} --attacks {attacks} --shots 0 --limit 20 --jobs 2"
    words += " --json --results"
    done = ctrl_c(words, tmp_path)
    assert [*(tmp_path / "records").rglob("*.json")] == done
    assert not read_records(tmp_path).problems


def test_attacking_again_what_nobody_heard_of_is_refused(run):
    ended = run("--reattack", "standin", "--dry-run", defense=DEFENSE)
    assert ended.code == 2
    assert "unknown --reattack 'standin'; did you mean standing? Known: all" in ended.err
