"""The picture beside a record: its pixels, whose it is, and what is no picture of ours."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from report_records import outcome, record, text_of
from tiny_runs import prepare, run, tiny_plan
from torch import nn

from baselines.build import GivenModel
from benchmark.core.errors import UsageError
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter
from benchmark.protocol import group
from benchmark.protocol.pictures import attacked_again, finished
from benchmark.results import thumbnail
from benchmark.results.records import Verdicts
from benchmark.results.store import read_records, record_path, write_record
from benchmark.results.thumbnail import decode, encode, png, tiles

PLAN = {"attacks": "pgd_linf[steps=3]", "shots": [0, 2], "episodes": 2}
ROW = torch.full((9, 1, 8, 8), 0.25)


def beside(folder, record):
    return record_path(folder, record.cell).with_suffix(".png")


def pixels(content):
    """As another library reads it: uint8 (height, width)."""
    return np.round(255 * imread(io.BytesIO(content), "png")).astype(np.uint8)


def row(images):
    """The first images side by side, uint8 (8, 64)."""
    return torch.cat(list((255 * images[:8, 0]).round().byte()), dim=1).numpy()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and what each attack on adapted models was given and gave."""
    folder, seen, genuine = tmp_path_factory.mktemp("made"), [], group.survives

    def spy(attack, model, batch, *more):
        ended = genuine(attack, model, batch, *more)
        seen.append((group.correct(model, batch), *ended))
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "survives", spy)
        return folder, run(tiny_plan(**PLAN), folder), seen


def test_rows_are_the_query_clean_stored_and_attacked_again(made):
    folder, done, ((clean, verdicts, attacked),) = made
    zero = done.prepared.plan.cells[0]
    query = done.prepared.query(zero).images
    stored = done.prepared.inputs(zero).static(zero, Meter()).images
    given, again = iter(attacked.images), []
    for image, right in zip(query, clean[: len(query)], strict=True):
        again.append(next(given) if right else image)
    before, adapted = done.records
    expected = [row(query), row(stored), row(torch.stack(again))]
    assert not np.array_equal(expected[1], expected[2])
    assert len({part.tobytes() for part in expected}) == 3
    found = pixels(beside(folder, adapted).read_bytes())
    assert np.array_equal(found, np.concatenate(expected))
    assert np.array_equal(pixels(beside(folder, before).read_bytes()), found[:16])
    assert adapted.outcome.reattacked.unpack()[0].tolist() == verdicts[: len(query)].tolist()


def test_what_is_written_is_read_again(made):
    folder, done, _ = made
    for each in done.records:
        images = decode(each, beside(folder, each).read_bytes())
        assert images.shape == (3 if each.cell.budget.adapts else 2, 8, 1, 8, 8)
        rows = np.concatenate(list(images[:, :, 0].transpose(0, 2, 1, 3).reshape(-1, 8, 64)))
        assert np.array_equal(rows, pixels(beside(folder, each).read_bytes()))


def test_wrong_images_stay_as_they_are_in_every_model():
    query = Batch(torch.rand(20, 1, 2, 2), torch.zeros(20))
    clean = torch.rand(3, 20) < 0.6
    attacked = torch.rand(int(clean.sum()), 1, 2, 2)
    whole = query.images.repeat(3, 1, 1, 1)
    whole[clean.flatten()] = attacked
    expected = whole.view(3, 20, 1, 2, 2)[:, :8]
    assert torch.equal(attacked_again(query, attacked, clean), expected)
    nothing = attacked_again(query, attacked[:0], torch.zeros_like(clean))
    assert torch.equal(nothing, query.images[:8].expand(3, 8, 1, 2, 2))
    unknown = attacked_again(query, attacked[:-1], clean)  # other verdicts the second time
    assert torch.equal(unknown, nothing)


def test_colour_comes_back_and_large_images_have_no_picture():
    assert [tiles(shape) for shape in ((1, 28, 28), (3, 32, 32), (3, 224, 224), (2, 8, 8))] == [
        8, 4, 0, 0
    ]  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 3, 32, 32), dtype=np.uint8)
    content = encode(record(), images)
    assert np.array_equal(decode(record(), content), images)
    shown = np.round(255 * imread(io.BytesIO(content), "png")).astype(np.uint8)
    assert np.array_equal(shown[32:64, 96:], images[1, 3].transpose(1, 2, 0))
    assert (
        finished(record(), torch.rand(4, 3, 224, 224), torch.rand(4, 3, 224, 224), None)[1] == b""
    )


def test_few_images_and_models_that_answer_at_random():
    few = finished(record(), ROW[:3], ROW[:3], None).picture
    assert decode(record(), few).shape == (2, 3, 1, 8, 8)
    assert finished(record(flags=["randomised: x"]), ROW, ROW, None).picture == b""


def test_a_model_that_answers_at_random_costs_no_cell(tmp_path):
    class Dice(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, images):
            return self.linear(images.flatten(1) + 0.3 * torch.rand(len(images), 64))

    plan = tiny_plan(defenses={"standard": GivenModel("own.py:Dice", Dice)}, **PLAN)
    done = run(plan, tmp_path)
    assert done.ended == {"done": 2}
    assert not list(tmp_path.rglob("*.png"))


GOOD = encode(record(), np.zeros((3, 4, 1, 8, 8), np.uint8))
OTHER = record(result=outcome([[1] * 4], [[0] * 4], [[0] * 4]))


def chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def remade(width=32, height=24, packed=None):
    """GOOD with another head or other pixels, every check sum right."""
    text = GOOD[GOOD.index(b"tEXt") + 4 : GOOD.index(b"IDAT") - 8]
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(33 * 24)) if packed is None else packed
    parts = [(b"IHDR", head), (b"tEXt", text), (b"IDAT", data), (b"IEND", b"")]
    return GOOD[:8] + b"".join(chunk(*part) for part in parts)


def test_the_damage_below_is_the_only_damage():
    assert decode(record(), remade()).shape == (3, 4, 1, 8, 8)


@pytest.mark.parametrize(
    "content",
    [
        b"", GOOD[:8], GOOD[:40], GOOD[:-1], GOOD + b"<script>alert(1)</script>",
        b"<svg onload=alert(1)>", b"GIF89a" + bytes(50), bytes(100_000), GOOD + bytes(70_000),
        GOOD.replace(b"IDAT", b"IDOT"), GOOD[:60] + bytes([GOOD[60] ^ 1]) + GOOD[61:],
        png(np.zeros((24, 32, 1), np.uint8)), png(np.zeros((24, 32, 1), np.uint8), "x 3 4"),
        png(np.zeros((24, 32, 1), np.uint8), f"{thumbnail.stamp(record())} 3 4 x"),
        encode(OTHER, np.zeros((3, 4, 1, 8, 8), np.uint8)),
        remade(width=33), remade(height=23), remade(width=2**31, height=2**31), remade(width=0),
        remade(packed=b"no zlib"), remade(packed=b""),
        b"\x89PNG\r\n\x1a\n" + b"\xff" * 200,
    ],
    ids=range(22),
)  # fmt: skip
def test_what_was_not_written_for_the_record_is_refused(content):
    with pytest.raises(UsageError, match="expected the picture of its record, got another file: "):
        decode(record(), content)


def rows_of_ones(height):
    """A picture of so many rows of its 24, every check sum right; Pillow fills the rest up."""
    ones = encode(record(), np.ones((3, 4, 1, 8, 8), np.uint8))
    start, end = ones.index(b"IDAT") - 4, ones.index(b"IEND") - 4
    packed = zlib.compress((b"\0" + b"\1" * 32) * height)
    return ones[:start] + chunk(b"IDAT", packed) + ones[end:]


def test_pixels_are_those_that_were_written():
    assert decode(record(), rows_of_ones(24)).all()
    with pytest.raises(UsageError, match="not as it was written"):
        decode(record(), rows_of_ones(23))


def test_a_picture_holds_no_words_but_its_own():
    end = GOOD.index(b"IEND") - 4
    with pytest.raises(UsageError, match="not as it was written"):
        decode(record(), GOOD[:end] + chunk(b"tEXt", b"Comment\0of somebody") + GOOD[end:])


def test_pictures_that_were_written_without_a_hash_of_their_pixels_are_read():
    old = png(np.ones((24, 32, 1), np.uint8), f"{thumbnail.stamp(record())} 3 4")
    assert decode(record(), old).all()


def test_little_is_unpacked_and_little_is_read():
    bomb = remade(packed=zlib.compress(bytes(40_000_000)))
    tracemalloc.start()
    assert not decode(record(), bomb).any()  # no more than the picture
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    packed = zlib.compress(bytes(33 * 24))
    long = packed[:2] + b"\0\0\0\xff\xff" * 20_000 + packed[2:]  # empty blocks, all valid
    assert zlib.decompress(long) == bytes(33 * 24)
    with pytest.raises(UsageError, match="more than 65,536 bytes"):
        decode(record(), remade(packed=long))


def test_a_picture_is_of_the_verdicts_and_the_fingerprint_it_was_made_with():
    first, new = outcome([[0] * 4], [[0] * 4], [[0] * 4]), Verdicts.pack(np.eye(1, 4, dtype=bool))
    names = ("clean_before", "before", "clean", "static", "reattacked")
    others = [record(result=first.model_copy(update={name: new})) for name in names]
    others.append(record().model_copy(update={"fingerprint": {"weights": "x"}}))
    assert len({thumbnail.stamp(each) for each in (record(), *others)}) == 7


def test_killed_between_picture_and_record_leaves_no_picture_of_other_verdicts(
    tmp_path, monkeypatch
):
    write_record(tmp_path, record(), GOOD)
    newer = encode(OTHER, np.zeros((3, 4, 1, 8, 8), np.uint8))
    genuine = Path.replace

    def killed(self, target):
        if target.suffix == ".json":
            raise KeyboardInterrupt
        return genuine(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, OTHER, newer)
    monkeypatch.undo()
    (kept,) = read_records(tmp_path).records
    assert kept == record()
    with pytest.raises(UsageError, match="other verdicts"):
        decode(kept, beside(tmp_path, kept).read_bytes())
    write_record(tmp_path, OTHER, newer)
    assert decode(OTHER, beside(tmp_path, OTHER).read_bytes()).shape == (3, 4, 1, 8, 8)


def test_killed_while_the_picture_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_record(tmp_path, record(), GOOD)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, record(), GOOD[:50])
    assert beside(tmp_path, record()).read_bytes() == GOOD
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_record_without_a_picture_takes_the_old_one_away(tmp_path):
    write_record(tmp_path, record(), GOOD)
    write_record(tmp_path, record(status="failed", reason="NaN", limit=4))
    assert not beside(tmp_path, record()).exists()


def test_no_record_is_lost_for_want_of_its_picture(tmp_path):
    for picture in (GOOD, b""):
        beside(tmp_path, record()).mkdir(parents=True, exist_ok=True)  # nothing replaces a folder
        write_record(tmp_path, record(), picture)
        assert read_records(tmp_path) == ([record()], [])


def test_a_record_that_is_stale_gets_the_picture_of_the_run_that_replaced_it(made, tmp_path):
    _, done, _ = made
    plan = done.prepared.plan
    run(plan, tmp_path)
    fingerprint = done.records[1].fingerprint | {"data": "0" * 16}
    other = done.records[1].model_copy(update={"fingerprint": fingerprint})
    record_path(tmp_path, other.cell).write_text(text_of(other))
    (stale,) = (r for r in read_records(tmp_path).records if r.cell == plan.cells[1])
    content = beside(tmp_path, stale).read_bytes()
    with pytest.raises(UsageError, match="other verdicts"):
        decode(stale, content)
    prepare(plan, tmp_path).run()
    assert beside(tmp_path, stale).read_bytes() == content
    assert len(decode(done.records[1], content)) == 3
