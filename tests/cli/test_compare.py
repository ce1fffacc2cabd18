"""`compare`: the table, the files, the figure, and what does not pair."""

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from gate_records import adapted, base, folder, unadapted, worsened
from matplotlib.colors import to_hex
from report_records import HOSTILE
from scipy.stats import binomtest

from benchmark.core.errors import UsageError
from reports.comparison.plot import COLOURS, comparison_figure
from reports.comparison.table import COLUMNS, compare
from reports.plots.write import styled


@pytest.fixture
def results(tmp_path):
    """`strong` beside `weak`: 30 of 1,000 images at K = 0, as many adapted, clean alike."""
    before, three = base(), base(episodes=3)
    weaker = worsened(before, 40, 10), worsened(three, 40, 10)
    records = [
        unadapted(before, defense="strong"), unadapted(weaker[0], defense="weak"),
        adapted(three, defense="strong"), adapted(weaker[1], defense="weak"),
    ]  # fmt: skip
    return folder(tmp_path / "results", records)


def test_two_defenses_in_one_folder(results):
    found = compare("strong", "weak", results).table
    assert list(found.columns) == [*COLUMNS]
    assert list(found["attack"]) == ["clean", "pgd_linf", "pgd_linf"]
    assert list(found["shots"]) == [0, 0, 5]
    clean, zero, five = found.itertuples()
    assert (clean.points, clean.p, math.isnan(clean.odds)) == (0, 1, True)
    assert (zero.lost, zero.won, zero.odds) == (40, 10, 0.25)
    assert (five.lost, five.won, five.episodes) == (120, 30, 3)
    for row in (zero, five):
        assert row.points == pytest.approx(-3)
        assert row.p == pytest.approx(binomtest(40, 50).pvalue), "three episodes are one image each"
        assert row.p_holm == pytest.approx(3 * row.p)
        assert row.points_low < -3 < row.points_high < 0


def test_the_other_way_round_is_the_same_with_the_sign_changed(results):
    one, other = compare("strong", "weak", results).table, compare("weak", "strong", results).table
    assert np.allclose(one["points"], -other["points"])
    assert np.allclose(one["p_holm"], other["p_holm"])
    assert list(one["lost"]) == list(other["won"])


def test_two_folders(results, tmp_path):
    later = [unadapted(worsened(base(), 5), defense="strong"), unadapted(base(), defense="other")]
    found = compare(str(results), str(folder(tmp_path / "later", later)), tmp_path / "unused")
    assert [(row.defense, row.attack, row.lost) for row in found.table.itertuples()] == [
        ("strong", "clean", 0), ("strong", "pgd_linf", 5),
    ]  # fmt: skip
    assert len(found.left_out) == 2
    assert found.left_out[0].startswith("only in ")
    assert ": 4 cells, e.g. digits/small_cnn/strong/s0/pgd_linf/k05" in found.left_out[0]
    assert ": 2 cells, e.g. digits/small_cnn/other/s0/clean" in found.left_out[1]


def test_on_the_console_and_as_json(results, command):
    ended = command("compare", "strong", "weak", "--results", results)
    assert ended.code == 0
    assert "b is better in 0 and worse in 2 of 3 cells" in ended.out
    assert "40 / 10" in ended.out
    document = json.loads(command("compare", "strong", "weak", "--results", results, "--json").out)
    assert (document["a"], document["b"], len(document["cells"])) == ("strong", "weak", 3)
    assert document["cells"][0]["odds"] is None
    assert [*document["cells"][0]] == [*COLUMNS]


def test_files(results, command, tmp_path):
    out = tmp_path / "out"
    ended = command("compare", "strong", "weak", "--results", results, "--out", out)
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison-digits-small_cnn-0.png", "comparison-digits-small_cnn-0.svg",
        "comparison.csv", "comparison.json",
    ]  # fmt: skip
    assert len(ended.err.splitlines()) == 4
    table = pd.read_csv(out / "comparison.csv")
    cells = json.loads((out / "comparison.json").read_text())["cells"]
    assert table["points"].tolist() == [cell["points"] for cell in cells]


def test_the_figure_shows_the_table(results):
    """A dot at each difference, a line over each interval, hollow where it is not certain."""
    table = compare("strong", "weak", results).table
    table.loc[2, "p_holm"] = 0.06
    figure = comparison_figure(table, "strong", "weak")
    (axes,) = figure.axes
    lines = [line for line in axes.lines[1:] if len(line.get_xdata())]
    dots = [line for line in lines if len(line.get_xdata()) == 1]
    spans = [line for line in lines if len(line.get_xdata()) == 2]
    assert [dot.get_xdata()[0] for dot in dots] == table["points"].tolist()
    assert [[*line.get_xdata()] for line in spans] == table[
        ["points_low", "points_high"]
    ].to_numpy().tolist()
    colours = [to_hex(dot.get_color()).upper() for dot in dots]
    assert colours[1:] == [*COLOURS[:2]]
    fills = [to_hex(dot.get_markerfacecolor()).upper() for dot in dots]
    assert fills == ["#FFFFFF", COLOURS[0], "#FFFFFF"]
    assert len({dot.get_marker() for dot in dots}) == 3, "told apart without colours"
    ys = [float(dot.get_ydata()[0]) for dot in dots]
    assert ys == sorted(ys)
    assert len(set(ys)) == 3


def test_the_figure_keeps_all_its_words(tmp_path):
    """Nothing is cut off at the width of a column, long names neither."""
    name = "x" * 300
    records = [
        each(base(), attack, defense=defense)
        for each in (unadapted, adapted)
        for attack in ("fgsm", name)
        for defense in ("standard", name)
    ]
    found = compare("standard", name, folder(tmp_path / "results", records))
    with styled():
        figure = comparison_figure(found.table, found.a, found.b)
        figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    texts = [*figure.axes[0].get_yticklabels(), figure._suptitle, *figure.legends[0].get_texts()]
    for text in texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert 0 <= box.y0 < box.y1 <= height + 1, text.get_text()
    assert figure.axes[0].get_window_extent().width > width / 3, "room is left for the dots"


def test_sixty_attacks_fit_a_page(tmp_path):
    records = [
        each(base(40), f"attack_{number:02d}", defense=defense)
        for each in (unadapted, adapted)
        for number in range(60)
        for defense in ("a", "b")
    ]
    found = compare("a", "b", folder(tmp_path / "results", records))
    with styled():
        figure = comparison_figure(found.table, found.a, found.b)
        figure.draw_without_rendering()
    assert figure.get_figheight() <= 9.5
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert len(boxes) == 61
    assert all(one.y0 >= below.y1 - 1 for one, below in itertools.pairwise(boxes))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name, tmp_path, command):
    records = [unadapted(base(), name, defense=one, dataset=name) for one in (name, "b")]
    results = folder(tmp_path / "results", records)
    ended = command("compare", name, "b", "--results", results, "--out", tmp_path / "out")
    assert ended.code == 0
    assert all(line.isprintable() for line in ended.out.splitlines())
    assert {path.parent for path in (tmp_path / "out").rglob("*")} == {tmp_path / "out"}


def test_what_does_not_pair(results, tmp_path, command):
    other = folder(tmp_path / "other", [unadapted(base(), defense="strong", query="q1")])
    mnist = folder(tmp_path / "mnist", [unadapted(base(), dataset="mnist")])
    few = folder(tmp_path / "few", [unadapted(base(10), defense="strong")])
    for wrong, said in ((other, "of data q1"), (mnist, "only in"), (few, "10 images x 1")):
        ended = command("compare", results, wrong, "--json")
        ended.refused("no cell of", said)
    command("compare", "strong", "week", "--results", results).refused("did you mean weak?")
    command("compare", "strong", results).refused("one of each")
    (tmp_path / "empty").mkdir()
    command("compare", "a", "b", "--results", tmp_path / "empty").refused("expected records below")
    with pytest.raises(UsageError, match="unknown defense"):
        compare("strong", str(tmp_path / "nowhere"), results)


def test_a_damaged_record_is_not_passed_over(results, command):
    path = next((results / "records").rglob("*.json"))
    path.write_text(path.read_text()[:100])
    command("compare", "strong", "weak", "--results", results).refused("not a readable record")
