"""CleverHans beside our own attacks, where it is installed; else the line that installs it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from references import check_names, check_strength

from attacks.libraries import cleverhans_adapter

LINE = "pip install --no-deps cleverhans"
OURS = {
    "ch_fgm": "fgsm", "ch_pgd": "pgd_linf", "ch_pgd_l2": "pgd_l2", "ch_cw": "cw",
    "ch_spsa[samples=32]": "spsa", "ch_hop_skip_jump[steps=5]": "",
}  # fmt: skip


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore::UserWarning:cleverhans")
@pytest.mark.parametrize("text", OURS)
def test_it_breaks_about_what_ours_does(text):
    pytest.importorskip("cleverhans", reason=f"needs {LINE}")
    check_strength(text, OURS[text])


def test_where_it_is_missing_the_line_that_installs_it_is_said():
    check_names([*OURS], find_spec("cleverhans") is not None, LINE, cleverhans_adapter.__doc__)
