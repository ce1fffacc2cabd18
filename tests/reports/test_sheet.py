"""The sheet of attacks: from records' pictures, a block an attack, in the order of families."""

import shutil

import pytest
from tiny_runs import run, tiny_plan

from benchmark.core.errors import UsageError
from reports.plots.sheet import sheets
from reports.plots.write import write_sheets
from reports.tidy.sources import gather

ATTACKS = "occlusion,pgd_linf[steps=2],fgsm,uniform_noise[draws=1]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("sheet")
    run(tiny_plan(attacks=ATTACKS, shots=[0, 1], limit=10), made)
    return made


def test_every_attack_has_a_block_in_the_order_of_families(folder):
    ((name, figure),) = sheets(gather([folder]))
    assert name == "digits-small_cnn-standard[epochs=2]"
    figure.draw_without_rendering()
    blocks = [axes for axes in figure.axes if axes.images]
    blocks.sort(key=lambda axes: (axes.get_position().x0, -axes.get_position().y0))
    titles = [axes.get_title(loc="left") for axes in blocks]
    assert titles == [
        "fgsm  (linf-gradient)", "pgd_linf[steps=2]  (linf-gradient)", "occlusion  (patch)",
        "uniform_noise[draws=1]  (noise)",
    ]  # fmt: skip


def test_a_block_shows_the_images_attacked_and_five_times_the_difference(folder):
    ((_, figure),) = sheets(gather([folder]))
    first = figure.axes[0]
    clean, attacked, apart = (image.get_array().astype(float) for image in first.images)
    assert clean.shape == (8, 4 * 9)
    assert not (clean == attacked).all()
    inner = [column for column in range(36) if column % 9 != 8]
    expected = (0.5 + 5 * (attacked - clean)).clip(0, 1)[:, inner]
    assert abs(apart[:, inner] - expected).max() < 1e-6
    assert (clean[:, 8::9] == 1).all()


def test_it_is_written_as_png_and_svg(folder, tmp_path):
    written = write_sheets(gather([folder]), tmp_path)
    assert [path.suffix for path in written] == [".png", ".svg"]
    assert all(path.stat().st_size > 1000 for path in written)


def test_a_picture_of_other_verdicts_is_refused(folder, tmp_path):
    other = tmp_path / "copy"
    shutil.copytree(folder, other)
    one, *others = sorted(other.rglob("*k00*.png"))
    shutil.copy(one, others[0])
    with pytest.raises(UsageError, match="expected the picture of its record"):
        list(sheets(gather([other])))
