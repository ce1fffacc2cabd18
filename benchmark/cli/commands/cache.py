"""`cache ls|prune|verify`: what is kept of crafted examples, what may go, what is corrupt."""

from __future__ import annotations

import json as json_module
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.options import (
    LIMIT,
    App,
    Json,
    Results,
    show_size,
    show_time,
    size_in_bytes,
    time_in_seconds,
)
from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from benchmark.artifacts.example_cache import File

EXAMPLES = """\b
Examples:
  python -m benchmark cache ls
  python -m benchmark cache ls --json | jq '.entries[] | select(.attack == "square")'
  python -m benchmark cache prune --older 30d
  python -m benchmark cache prune --limit 500MB --results DIR
  python -m benchmark cache prune --all
  python -m benchmark cache verify --delete --cache DIR

\b
Exit code: 0 well, 1 something was corrupt (verify), 2 wrong use.
"""
SHOWN = 40
"""Lines of `ls`; --json has them all."""

app = App(
    help="Crafted examples on disk: list them, drop them, check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[
    Path | None, typer.Option("--cache", help="The cache folder. [`cache` in the results]")
]


@app.command(epilog=EXAMPLES)
def ls(results: Results = Path("results"), cache: Folder = None, json: Json = False) -> None:
    """Show what is kept: which examples of which model and attack, how large, how old."""
    from benchmark.artifacts.example_cache import files

    folder = _existing(results, cache)
    found = files(folder)[::-1]
    total = sum(file.size for file in found)
    if json:
        entries = [_facts(file) for file in found]
        _print_json({"folder": str(folder), "entries": entries, "bytes": total})
        return
    _print_table([_facts(file) for file in found[:SHOWN]])
    if len(found) > SHOWN:
        typer.echo(f"... and {len(found) - SHOWN:,} used before them; --json has them all")
    typer.echo(f"{len(found):,} files, {show_size(total)} in {folder}")


@app.command(epilog=EXAMPLES)
def prune(
    results: Results = Path("results"), cache: Folder = None,
    limit: Annotated[
        str | None, typer.Option(help=f"Drop what was used longest ago beyond it. [{LIMIT}]")
    ] = None,
    older: Annotated[
        str | None, typer.Option(help="Drop what was not used for so long, e.g. 12h or 30d.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Drop all of it.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Drop examples that were not used for long; they are crafted again when they are needed."""
    from benchmark.artifacts.example_cache import drop, files
    from benchmark.results.store import is_litter

    most = 0 if everything else size_in_bytes("--limit", limit or LIMIT)
    age = float("inf") if older is None else time_in_seconds("--older", older)
    folder = _existing(results, cache)
    found, now = files(folder), time.time()
    aged = [f for f in found if now - f.used > age or (f.is_temporary and is_litter(f.used))]
    stuck = drop(aged, 0)
    left = drop([file for file in found if file not in aged], most) + stuck
    removed = sum(file.size for file in found) - sum(file.size for file in left)
    count = len(found) - len(left)
    if json:
        _print_json({"folder": str(folder), "removed": count, "removed_bytes": removed,
                     "left": len(left), "left_bytes": sum(file.size for file in left)})  # fmt: skip
        return
    typer.echo(
        f"removed {count:,} files, {show_size(removed)}; "
        f"{len(left):,} files, {show_size(sum(file.size for file in left))} are left in {folder}"
    )


@app.command(epilog=EXAMPLES)
def verify(
    results: Results = Path("results"), cache: Folder = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is corrupt.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Read every file again: its hash, shapes and values. `run` crafts what is corrupt again."""
    from benchmark.artifacts.example_cache import files, read, remove

    folder = _existing(results, cache)
    found = [file for file in files(folder) if not file.is_temporary]
    problems: list[str] = []
    for file in found:
        try:
            read(file.path)
        except UsageError as error:
            problems.append(str(error) + ("; removed" if delete and remove(file.path) else ""))
    if json:
        _print_json({"folder": str(folder), "files": len(found), "corrupt": problems})
    else:
        for problem in problems:
            typer.echo(problem, err=True)
        typer.echo(f"{len(found):,} files, {len(problems):,} corrupt in {folder}")
    raise typer.Exit(1 if problems else 0)


def _existing(results: Path, cache: Path | None) -> Path:
    folder = cache or results / "cache"
    if not os.path.isdir(folder):
        raise UsageError(f"no cache at {folder}; expected the --results or --cache folder of a run")
    return folder


def _facts(file: File) -> dict[str, Any]:
    """What `ls` says of a file; only its header is read."""
    from benchmark.artifacts.example_cache import LONGEST, describe

    about = describe(file.path)
    kind = "half-written" if file.is_temporary else "unreadable"
    created = about.get("created", "")
    return {
        "file": file.path.name,
        "what": about.get("what", kind),
        "trained": about.get("trained", ""),
        "attack": about.get("attack", ""),
        "images": int(about.get("images", 0)),
        "bytes": file.size,
        "created": int(created) if created.isdecimal() and len(created) <= LONGEST else None,
        "used": round(file.used),
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid, now = Table(box=None, header_style="bold", pad_edge=False), time.time()
    for column in ("what", "trained", "attack", "images", "size", "age", "last used"):
        numbers = column in ("images", "size", "age", "last used")
        grid.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        age = "" if row["created"] is None else show_time(now - row["created"])
        words = (
            row["what"], row["trained"], row["attack"], f"{row['images']:,}",
            show_size(row["bytes"]), age, show_time(now - row["used"]),
        )  # fmt: skip
        grid.add_row(*map(Text, words))  # brackets are options here, not markup
    wide = None if sys.stdout.isatty() else 1000  # a pipe has no width: one line a row
    Console(emoji=False, highlight=False, width=wide).print(grid)


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json_module.dumps(document))
