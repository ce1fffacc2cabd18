"""The manual is built of the pages in the folders; what leads nowhere ends the build."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MANUAL = ROOT / ".github" / "manual"
SETTINGS = """
[project]
site_name = "Reattack"
docs_dir = "docs"
site_dir = "site"
nav = [{ "Start" = "README.md" }, { "More" = [{ "Two" = "github/TWO.md" }] }]
[project.plugins.mkdocstrings.handlers.python]
paths = ["."]
"""


@pytest.fixture
def build(tmp_path):
    """Builds a manual of two pages: the exit code, what is said, and the folder."""

    def call(one, two="# Two\n\n## There\n"):
        root = tmp_path / "root"
        (root / ".github" / "manual").mkdir(parents=True)
        shutil.copy(MANUAL / "build.py", root / ".github" / "manual")
        (root / ".github" / "manual" / "zensical.toml").write_text(SETTINGS)
        (root / "README.md").write_text(one)
        (root / ".github" / "TWO.md").write_text(two)
        (root / "code.toml").write_text("a = 1\n")
        done = subprocess.run(
            [sys.executable, root / ".github" / "manual" / "build.py", tmp_path / "site"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr, tmp_path / "site"

    return call


@pytest.mark.parametrize("link", ["gone.md", "../outside.md", ".github", "/etc/passwd"])
def test_a_link_to_no_file_of_the_repository_ends_the_build(build, link):
    code, said, site = build(f"# One\n\n[this]({link})\n")
    assert code == 1 and f"README.md: {link} is no file of the repository" in said
    assert not site.exists()


@pytest.mark.extra
def test_links_to_pages_headings_and_files_are_kept(build):
    pytest.importorskip("zensical")
    code, said, site = build("# One\n\n[two](.github/TWO.md#there) [code](code.toml)\n")
    assert code == 0, said
    assert (site / "code.toml").read_text() == "a = 1\n"
    page = (site / "index.html").read_text("utf-8")
    assert 'href="github/TWO/#there"' in page and 'href="code.toml"' in page


@pytest.mark.extra
@pytest.mark.parametrize(
    "text", ["[two](.github/TWO.md#nowhere)", "::: benchmark.there_is_no_such_module"]
)
def test_a_heading_or_name_that_is_not_there_ends_the_build(build, text):
    pytest.importorskip("zensical")
    code, said, site = build(f"# One\n\n{text}\n")
    assert code != 0, said
    assert not site.exists()


def test_every_page_a_reader_may_want_is_in_it():
    """All that the folders hold, but those for people at work on the project's own figures."""
    nav = str(tomllib.loads((MANUAL / "zensical.toml").read_text("utf-8"))["project"]["nav"])
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    pages = {page.replace(".github/", "github/") for page in listed.stdout.split()}
    assert {page for page in pages if repr(page) not in nav} == {"github/PACKAGE.md"}
