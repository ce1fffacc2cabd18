"""Real small records as somebody hands them in, and forged ones; `conftest` hands them out."""

import gzip
import json

import numpy as np
import pytest

from benchmark.results.records import Record, Verdicts
from reports.archive.reference import write_file

MODEL = "standard[epochs=1]"
ATTACKS = "fgsm,pgd_linf[steps=5],pgd_l2,gaussian_noise"


def packed(root, *words):
    """A packed file of what `run` with these words leaves, on 60 images."""
    from benchmark.cli import app as cli

    patch = pytest.MonkeyPatch()
    for command in (
        ["run", "--defense", MODEL, "--episodes", "2", "--limit", "60", "--jobs", "1", "--quiet",
         "--results", root / "r", *words],
        ["reference", "--results", root / "r", "--out", root / "mine.records.gz"],
    ):  # fmt: skip
        patch.setattr("sys.argv", ["reattack", *map(str, command)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
    patch.undo()
    return root / "mine.records.gz"


@pytest.fixture(scope="session")
def handed_in(tmp_path_factory):
    """Of 4 attacks, K of 0 and 1."""
    root = tmp_path_factory.mktemp("handed")
    return packed(root, "--attacks", ATTACKS, "--shots", "0,1")


@pytest.fixture
def changed(handed_in, tmp_path):
    """A file with every record changed, sealed anew as a forger would."""

    def call(change, name="changed", source=handed_in):
        lines = map(json.loads, gzip.decompress(source.read_bytes()).splitlines())
        made = [Record.model_validate(_bare(change(line))) for line in lines]
        return write_file(made, tmp_path / f"{name}.records.gz")

    return call


def _bare(content):
    return {name: value for name, value in content.items() if name != "content"}


def worse(record):
    """Nothing right, not even as it is."""
    none = json.loads(Verdicts.pack(np.zeros((1, 60), dtype=bool)).model_dump_json())
    names = ("clean_before", "before", "clean", "static", "reattacked")
    record["outcome"] |= dict.fromkeys(names, none)
    return record
