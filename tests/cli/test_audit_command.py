"""`audit` as its user meets it: bad input, and what is said."""

import json
import time

from audit_fixtures import kept


def test_a_sound_model_has_no_flag(audit, tmp_path):
    ended = audit("--json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)["audits"]
    assert (found["verdict"], found["flags"], found["missing"]) == ("sound", [], [])
    assert found["parts"]["attacked"]["cost"]["backwards"] > 0
    (one,) = kept(tmp_path)
    assert (one.images, one.verdict, str(one)) == (20, "sound", "sound")
    assert one.parts["model"].numbers == found["parts"]["model"]["numbers"]


def test_a_flag_is_one_line_that_explains_itself(audit, own):
    defense = own("return torch.sigmoid(self.head(images.flatten(1)))")
    ended = audit("--follow-advice", defense=defense)
    assert ended.code == 0, ended.err
    verdict, few, flag, left = ended.out.splitlines()
    assert verdict.startswith("digits/own.py:Net/own.py:Net/s0: broken (bounded)")
    assert few.startswith("  few images: ")
    assert flag.startswith("  bounded: outputs of 0.") and "https://arxiv.org/" in flag
    assert "return what comes before the last function" in flag
    assert "% right (" in left and "Wilson; n = 20) under the worst of aa_linf" in left
    assert ended.err.splitlines()[-1].endswith("n20.html")


def test_what_the_doubt_leaves_is_the_worst_of_each_image(audit, own, tmp_path, command):
    from benchmark.results.store import read_records

    defense = own("return torch.sigmoid(self.head(images.flatten(1)))")
    ended = audit("--follow-advice", "--json", defense=defense)
    advised = json.loads(ended.out)["audits"][0]["advised"]
    records = read_records(tmp_path / "results").records
    assert {record.cell.attack for record in records} == set(advised["attacks"])
    assert set(advised["attacks"]) == {"aa_linf", "square", "rays", "transfer_pgd"}
    rows = [record.outcome.before.unpack()[0] for record in records if record.outcome]
    worst = rows[0].copy()
    for row in rows[1:]:
        worst &= row
    assert (advised["robust"], advised["n"]) == (worst.mean(), 20)
    assert min(advised["attacks"].values()) >= advised["robust"]
    again = audit("--quiet", defense=defense)
    assert again.code == 0
    (one,) = kept(tmp_path)
    assert one.advised is not None, "what was followed once is still known"


def test_one_image_and_two_classes(audit, command, planned, tmp_path):
    import numpy as np

    assert audit(limit=1).code == 0
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 8, 8), dtype=np.uint8)
    labels = (images[:, 0, 0] > 127).astype(np.int64)
    np.savez(tmp_path / "two.npz", images=images, labels=labels)
    ended = command(
        "audit", "--dataset", f"npz:{tmp_path / 'two.npz'}", "--defense", "standard[epochs=1]",
        "--results", tmp_path / "two", "--limit", 10,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "[10 validation images" in ended.out or "[8 validation images" in ended.out


def test_a_model_that_cannot_be_asked_twice_is_said(audit, own, tmp_path):
    second = own("if self.calls > 1: raise RuntimeError('asked twice')")
    ended = audit(defense=second)
    assert (ended.code, ended.out) == (1, "")
    assert "cannot be audited: RuntimeError: asked twice" in ended.err
    assert not kept(tmp_path)


def test_a_model_that_raises_later_costs_the_part_alone(audit, own, tmp_path):
    later = own("if images.requires_grad and len(images) == 20: raise RuntimeError('no more')")
    ended = audit(defense=later)
    assert ended.code == 0
    (one,) = kept(tmp_path)
    assert one.parts["attacked"].failed and not one.parts["model"].failed
    assert "no more" in one.parts["attacked"].skipped
    assert one.verdict != "sound", "what nobody could look at is in doubt"
    assert "part failed" in str(one) and "no more" in ended.err


def test_a_model_without_a_gradient_is_audited(audit, own, tmp_path):
    ended = audit(defense=own("images = images.detach()"))
    assert ended.code == 0, ended.err
    (one,) = kept(tmp_path)
    assert one.verdict == "broken" and "no gradient" in str(one)


def test_a_slow_part_is_over_its_limit(audit, planned, tmp_path):
    def slow(subject):
        while True:
            try:
                time.sleep(30)
            except Exception:  # nothing that a model may catch
                continue

    planned["slow"] = slow
    begin = time.monotonic()
    ended = audit("--part-time", "1.5", "--parts", "slow")
    assert ended.code == 0
    assert time.monotonic() - begin < 60
    (one,) = kept(tmp_path)
    assert one.parts["slow"].skipped == "over its time limit of 1.5 s; --part-time gives more"
    assert str(one) == "doubtful, 1 of 3 parts (part failed)"


def test_a_model_that_takes_minutes_a_pass_is_said(audit, own):
    ended = audit("--part-time", "1", defense=own("import time; time.sleep(100)"))
    assert ended.code == 1
    assert "cannot be audited: over its time limit of 1 s; --part-time gives more" in ended.err


def test_what_the_first_look_doubts_is_never_sound(command, own, tmp_path):
    """By the parts as they are shipped: what `run` flags, an audit does not vouch for."""
    defense = own("return torch.sigmoid(self.head(images.flatten(1)))")
    ended = command(
        "audit", "--defense", defense, "--results", tmp_path / "results", "--limit", 1,
        "--parts", "model", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)["audits"]
    assert found["verdict"] == "broken"
    (flag,) = found["flags"]
    assert (flag["code"], flag["value"], flag["threshold"]) == ("bounded", None, None)


def test_wrong_use(audit):
    audit("--suite", "ci").refused("expected --defense NAMES or --suite NAME, got both")
    audit("--parts", "modle").refused("unknown part of an audit 'modle'", "model")
    audit("--part-time", "0").refused("--part-time: expected seconds above 0")
    audit(limit=0).refused("--limit", "greater than or equal to 1")
    audit(defense="nothing").refused("unknown defense 'nothing'")


def test_a_dry_run_opens_no_model(audit, tmp_path):
    ended = audit("--dry-run")
    assert ended.out == (
        "digits/small_cnn/standard[epochs=1]/s0: model, attacked on 20 validation images; "
        "there: none\n"
    )
    assert not (tmp_path / "results" / "models").exists()
    assert json.loads(audit("--dry-run", "--json").out)["audits"][0]["images"] == 20


def test_the_models_of_a_suite_are_audited(command, planned, tmp_path):
    ended = command("audit", "--suite", "ci", "--results", tmp_path / "r", "--dry-run", "--json")
    found = json.loads(ended.out)["audits"]
    assert [one["model"].split("/")[2].partition("[")[0] for one in found] == ["standard", "pgd_at"]
