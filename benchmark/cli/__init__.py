"""The command line. Its modules are imported when a command runs, so that `--help` is quick."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; the entry point `reattack`, and `python -m benchmark`."""
    from benchmark.cli.app import main

    main()
