"""adv-lib beside our own attacks, where it is installed; else the line that installs it."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from references import check_names, check_strength

from attacks.libraries import advlib_adapter
from attacks.libraries.advlib_adapter import INSTALL

OURS = {
    "al_fmn": "pgd_linf", "al_fmn_l2": "pgd_l2", "al_fmn_l1": "", "al_fmn_l0": "",
    "al_ddn": "pgd_l2", "al_alma[steps=200]": "pgd_l2", "al_pdgd[steps=200]": "pgd_l2",
    "al_pdpgd[steps=200]": "pgd_linf", "al_pdpgd_l1[steps=200]": "",
    "al_sigma_zero[steps=200]": "", "al_tr": "pgd_l2", "al_superdeepfool": "deepfool",
}  # fmt: skip


@pytest.mark.extra
@pytest.mark.parametrize("text", OURS)
def test_it_breaks_about_what_ours_does(text):
    if find_spec("adv_lib") is None:
        pytest.skip(f"needs {INSTALL}")
    check_strength(text, OURS[text])


@pytest.mark.extra
def test_nothing_stands_for_visdom_afterwards():
    if find_spec("adv_lib") is None:
        pytest.skip(f"needs {INSTALL}")
    assert advlib_adapter.library().fmn
    assert ("visdom" in sys.modules) <= (find_spec("visdom") is not None)


def test_where_it_is_missing_the_line_that_installs_it_is_said():
    check_names([*OURS], find_spec("adv_lib") is not None, INSTALL, advlib_adapter.__doc__)
