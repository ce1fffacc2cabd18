"""The plots: what is drawn where, and that nothing a record may hold breaks them."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread
from report_records import FAMILIES, HOSTILE, matrix, outcome, record, without

from reports.plots.matrix import matrix_figure
from reports.plots.shots import CLEAN, ROBUST, STATIC, shots_figure
from reports.plots.write import save, write_plots
from reports.tidy.aggregate import views
from reports.tidy.frame import from_records

ATTACKS = ("fgsm", "pgd_linf", "pgd_l2", "square")


def drawn(axes, colour, style):
    (line,) = (
        line for line in axes.get_lines()
        if line.get_color() == colour and line.get_linestyle() == style
    )  # fmt: skip
    return line.get_ydata()


def test_the_curves_are_the_headline_over_unseen_families():
    shown = views(from_records(matrix(attacks=ATTACKS, shots=(0, 1, 5))))
    head = shown.head
    axes = {axes.get_title("left"): axes for axes in shots_figure(head).axes}
    for defense in ("standard", "pgd_at", "meta_adv"):
        rows = head[(head["defense"] == defense) & (head["scope"] == "unseen")]
        rows = rows[rows["over"] == "family mean"].sort_values("shots")
        for name, colour, style in (
            ("robust", ROBUST, "-"), ("static", STATIC, "--"), ("clean", CLEAN, "-"),
        ):  # fmt: skip
            assert drawn(axes[defense], colour, style) == pytest.approx(100 * rows[name])


def test_an_incomplete_line_leaves_a_gap_and_is_named():
    records = without(matrix(attacks=ATTACKS, shots=(0, 1, 5)), "pgd_at", "pgd_l2", 1)
    figure = shots_figure(views(from_records(records)).head)
    axes = next(axes for axes in figure.axes if axes.get_title("left") == "pgd_at")
    assert np.isnan(drawn(axes, ROBUST, "-")).tolist() == [False, True, False]
    assert any("incomplete at K = 1" in text.get_text() for text in axes.texts)


def test_the_matrix_shows_robust_accuracy_and_tells_holes_apart():
    records = without(matrix(attacks=ATTACKS, shots=(0, 5)), "pgd_at", "pgd_l2", 5)
    records = without(records, "standard", "square", 5)
    records += [record("pgd_l2", "pgd_at", 5, status="failed", reason="boom")]
    records += [record("rgb", "pgd_at", 5, family="noise", status="skipped", reason="grey")]
    shown = views(from_records(records))
    before, after = matrix_figure(shown.attacks).axes
    texts = [text.get_text() for text in after.texts]
    assert texts.count("failed") == 1
    assert texts.count("n/a") == 1
    hatched = [patch for patch in after.patches if patch.get_hatch()]
    assert len(hatched) == 3  # square for standard; the skipped attack for the two others
    (row,) = shown.attacks.query("defense == 'meta_adv' and attack == 'fgsm' and shots == 5").robust
    assert f"{100 * row:.0f}" in texts
    assert not any(
        patch.get_hatch() for patch in before.patches[: len(ATTACKS)] if patch.get_y() < 4
    )


def test_seen_cells_are_marked():
    figure = matrix_figure(views(from_records(matrix(attacks=ATTACKS, shots=(0, 5)))).attacks)
    for axes in figure.axes:
        seen, unknown = axes.collections[-2:]
        assert len(seen.get_paths()) == 2 + 3  # pgd_at: two linf attacks; meta_adv: and pgd_l2
        assert len(unknown.get_paths()) == 0


MANY = tuple(f"attack_{number}" for number in range(45))
SHAPES = {
    "one defense, 45 attacks": {"defenses": ("meta_adv",), "attacks": MANY},
    "six defenses, 5 attacks": {"defenses": tuple("abcdef"), "attacks": tuple(FAMILIES)[:5]},
    "several adaptations": {"attacks": ATTACKS[:2], "methods": ("finetune", "head")},
    "only trained models": {"attacks": ATTACKS, "shots": (0,)},
    "one cell": {"defenses": ("pgd_at",), "attacks": ("fgsm",), "shots": (5,)},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_fits_a_page(shape):
    options = {"shots": (0, 5), "n": 20, "episodes": 2} | SHAPES[shape]
    shown = views(from_records(matrix(**options)))
    for figure in (shots_figure(shown.head), matrix_figure(shown.attacks)):
        figure.draw_without_rendering()  # warns, hence fails, where the layout does not fit
        width, height = figure.get_size_inches()
        assert 1.5 < width < 7.01
        assert 1.0 < height < 9.5


@pytest.mark.parametrize(("shots", "stems"), [((0, 5), {"shots", "matrix"}), ((0,), {"matrix"})])
def test_png_and_svg_are_written_and_equal_results_give_equal_files(shots, stems, tmp_path):
    records = matrix(("pgd_at", "my.py:Net"), ATTACKS, shots, n=20)
    shown = views(from_records(records))
    paths = write_plots(shown, tmp_path / "a")
    names = {f"{stem}-digits-small_cnn.{kind}" for stem in stems for kind in ("png", "svg")}
    assert {path.name for path in paths} == names
    for path, again in zip(paths, write_plots(shown, tmp_path / "b"), strict=True):
        assert path.read_bytes() == again.read_bytes()
        if path.suffix == ".png":
            assert imread(path)[..., :3].std() > 0.02  # not an empty page
        else:
            assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_hostile_names_are_drawn_as_text(tmp_path):
    fields = {"dataset": "$x_", "network": "$\\frac{1}{0}$"}
    records = [record(name, name, k, family=name, **fields) for name in HOSTILE for k in (0, 5)]
    shown = views(from_records(records))
    shots_figure(shown.head).draw_without_rendering()
    path = save(matrix_figure(shown.attacks), tmp_path / "x")[1]
    assert "<script" not in path.read_text().lower()


def test_of_many_defenses_the_best_are_drawn_and_counted():
    names = tuple(f"defense_{i:02d}" for i in range(15))
    records = [
        record("fgsm", name, k, outcome(*[[[1] * i + [0] * (15 - i)]] * 3))
        for i, name in enumerate(names) for k in (0, 5)
    ]  # fmt: skip
    shown = views(from_records(records))
    figure = shots_figure(shown.head)
    titles = [axes.get_title("left") for axes in figure.axes if axes.get_visible()]
    assert titles == list(names[3:])
    assert figure.get_suptitle().endswith("the best 12 of 15")
    matrix_of_all = matrix_figure(shown.attacks)
    assert not [
        text for axes in matrix_of_all.axes for text in axes.texts if text.get_text() == "67"
    ]
    assert [len(axes.get_xticks()) for axes in matrix_of_all.axes] == [15, 15]
    matrix_of_all.draw_without_rendering()
