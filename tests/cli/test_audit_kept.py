"""What an audit leaves behind: what is kept, what resumes, what is refused and made anew."""

import os
import signal
import subprocess
import sys

import pytest
from audit_fixtures import LINEAR, kept
from planted_audits import ZERO

from benchmark.audit.model import model
from benchmark.results.audits import Checked, audit_files, content, read_audit, write_audit


def test_parts_that_are_done_are_not_run_again(audit, planned, tmp_path, monkeypatch):
    seen = []

    def counting(subject):
        seen.append(1)
        return model(subject)

    planned["model"] = counting
    assert audit("--parts", "model").code == 0
    (one,) = kept(tmp_path)
    assert [*one.parts] == ["model"] and str(one) == "sound, 1 of 2 parts"
    assert audit().code == 0
    (one,) = kept(tmp_path)
    assert [*one.parts] == ["model", "attacked"] and len(seen) == 1
    assert audit().code == 0 and len(seen) == 1


def test_an_audit_of_other_weights_is_made_anew(audit, own, tmp_path):
    assert audit(defense=own("pass")).code == 0
    (before,) = kept(tmp_path)
    (tmp_path / "own.py").write_text(LINEAR.format(act="pass").replace("seed(0)", "seed(1)"))
    ended = audit(defense=f"{tmp_path / 'own.py'}:Net")
    assert "stale, made anew" in ended.err and "weights" in ended.err
    (after,) = kept(tmp_path)
    assert after.weights != before.weights


@pytest.mark.parametrize("forge", ["flag", "hash", "half", "text", "code"])
def test_a_forged_or_damaged_audit_is_refused_and_made_anew(audit, tmp_path, forge):
    assert audit().code == 0
    (path,) = audit_files(tmp_path / "results")
    (genuine,) = kept(tmp_path)
    forged = genuine.model_copy(update={"parts": {"model": Checked(flags=[ZERO])}})
    text = content(genuine)
    path.write_text({
        "flag": text.replace('"flags": []', '"flags": ["x"]', 1), "half": text[: len(text) // 2],
        "hash": text.replace('"images": 20', '"images": 21'), "text": "[]",
        "code": content(forged).replace("zero gradients", "nobody knows"),
    }[forge])  # fmt: skip
    ended = audit()
    assert ended.code == 0
    (line,) = [line for line in ended.err.splitlines() if "not a readable audit" in line]
    assert str(path) in line and line.endswith("made anew")
    (again,) = kept(tmp_path)
    assert again.model_copy(update={"created": genuine.created, "parts": {}}) == (
        genuine.model_copy(update={"parts": {}})
    )
    assert str(again) == "sound"


KILLED = """
import os, signal, sys
sys.path[:0] = {path}
from benchmark.audit import parts
from benchmark.audit.model import model

def killed(subject):
    os.kill(os.getpid(), signal.SIGKILL)

parts.PARTS.clear()
parts.PARTS.update(model=model, killed=killed)
from benchmark.cli.app import main
if __name__ == "__main__":
    main()
"""


def test_a_kill_costs_one_part_at_most(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(path=[*sys.path, os.path.dirname(__file__)]))
    words = ["audit", "--defense", "standard[epochs=1]", "--limit", "20", "--results"]
    done = subprocess.run(
        [sys.executable, script, *words, tmp_path / "results"], capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    (one,) = kept(tmp_path)
    assert [*one.parts] == ["model"] and one.missing == ["killed"]


def test_what_is_written_is_what_is_read(audit, tmp_path):
    assert audit().code == 0
    (path,) = audit_files(tmp_path / "results")
    before = path.read_bytes()
    write_audit(path, read_audit(path))
    assert path.read_bytes() == before
