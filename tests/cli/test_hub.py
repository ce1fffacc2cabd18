"""`hf:NAME` from a hub: one on this machine, asked by the library as it asks the real one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hub_server import serving
from PIL import Image
from safetensors.torch import save_file

pytestmark = pytest.mark.extra


@pytest.fixture
def hub(tmp_path):
    """A data set of two classes, black and white, and a model of timm; gives its address."""
    pytest.importorskip("huggingface_hub", reason="needs the extra `hub`")
    timm = pytest.importorskip("timm", reason="needs the extra `hub`")
    data = tmp_path / "hub" / "datasets" / "team" / "tones" / "data"
    data.mkdir(parents=True)
    for part, n in (("train", 60), ("test", 20)):
        labels = [row % 2 for row in range(n)]
        images = [{"bytes": png(label), "path": None} for label in labels]
        names = {"label": {"names": ["black", "white"], "_type": "ClassLabel"}}
        table = pyarrow.table({"image": images, "label": labels}).replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": names}})}
        )
        pyarrow.parquet.write_table(table, data / f"{part}-00000-of-00001.parquet")
    model = tmp_path / "hub" / "models" / "team" / "net"
    model.mkdir(parents=True)
    network = timm.create_model("test_resnet.r160_in1k", num_classes=2)
    save_file(network.state_dict(), model / "model.safetensors")
    config = {"architecture": "test_resnet", "num_classes": 2}
    (model / "config.json").write_text(json.dumps(config))
    with serving(tmp_path / "hub") as address:
        yield address


def png(label):
    pixels = np.random.default_rng(label).integers(0, 100, (32, 32, 3)) + 150 * label
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "png")
    return file.getvalue()


def reattack(address, folder, *words):
    """In a process of its own: the library reads where its hub is when it is imported."""
    place = {"HF_ENDPOINT": address, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, words)], capture_output=True, text=True,
        env={**os.environ, **place, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}, check=False,
    )  # fmt: skip


def test_data_and_model_are_fetched_and_scored(hub, tmp_path):
    ended = reattack(
        hub, tmp_path, "run", "--dataset", "hf:team/tones", "--defense", "hf:team/net",
        "--attacks", "fgsm", "--shots", "0", "--results", tmp_path / "results", "--json",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    (cell,) = json.loads(ended.stdout)["cells"]
    assert (cell["dataset"], cell["defense"], cell["n"]) == ("hf:team/tones", "hf:team/net", 20)


@pytest.mark.parametrize(
    "words", [("--dataset", "hf:team/nothing"), ("--defense", "hf:team/nothing")]
)
def test_what_the_hub_does_not_have_is_one_line(hub, tmp_path, words):
    ended = reattack(
        hub, tmp_path, "run", *words, "--attacks", "fgsm", "--results", tmp_path / "results"
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "hf:team/nothing: cannot be fetched" in ended.stderr
