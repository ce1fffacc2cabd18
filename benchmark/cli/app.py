"""The command line: its commands, and what becomes of what goes wrong. Heavy imports wait."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from benchmark.cli.commands import (
    audit,
    cache,
    check,
    curve,
    duplicates,
    model,
    report,
    run,
    share,
    tune,
    verify,
)
from benchmark.cli.options import DEBUG, App, Json, importing
from benchmark.core.errors import UsageError, describe
from benchmark.identity.our_packages import check_packages

app = App(
    name="reattack",
    help="Robustness after few-shot adaptation, with the adapted model attacked again.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(cache.app, name="cache")
app.command(epilog=run.EXAMPLES)(run.run)
app.command(epilog=audit.EXAMPLES)(audit.audit)
app.command(epilog=curve.EXAMPLES)(curve.curve)
app.command(epilog=duplicates.EXAMPLES)(duplicates.duplicates)
app.command()(report.report)
app.command(epilog=report.LEADERBOARD_EXAMPLES)(report.leaderboard)
app.command()(report.reference)
app.command(epilog=report.COMPARE_EXAMPLES)(report.compare)
app.command(epilog=share.EXAMPLES)(share.share)
app.command(epilog=verify.EXAMPLES)(verify.verify)
app.command(epilog=check.EXAMPLES)(check.check)
app.command(epilog=tune.EXAMPLES)(tune.tune)
app.command(epilog=model.TRAIN_EXAMPLES)(model.train)
app.command(epilog=model.EXPORT_EXAMPLES)(model.export)

WRONG_WORDS: type[Any] = typer.BadParameter.__bases__[0]
"""What typer raises for a flag or a command it does not know: the UsageError of its click."""
INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reattack {version('reattack')}")
        raise typer.Exit


@app.callback()
def everywhere(
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of what fails.")] = False,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Robustness after few-shot adaptation, with the adapted model attacked again."""


@app.command(name="list")
def list_(
    what: Annotated[
        str, typer.Argument(help="attacks, defenses, datasets, networks, recipes or suites.")
    ],
    name: Annotated[
        str | None, typer.Argument(help="One of them: its options, what it needs.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets are.")] = None,
    json: Json = False,
) -> None:
    """Show what there is, a line each; of one name its options, and why it is unavailable."""
    from benchmark.cli import listing

    listing.show(what, name, data_dir, json)


@app.command()
def contract(
    attack: Annotated[str | None, typer.Option(help="An attack, options in brackets.")] = None,
    defense: Annotated[str | None, typer.Option(help="A defense, or file.py:OBJECT.")] = None,
    dataset: Annotated[str | None, typer.Option(help="A data set, as `run` takes it.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets are.")] = None,
) -> None:
    """Check that an attack, a defense or a data set keeps the rules each of them must keep."""
    with importing():
        from benchmark.contracts import suite as contracts
        from benchmark.plan.own_attack import take_attack

    if sum(one is not None for one in (attack, defense, dataset)) != 1:
        raise UsageError("expected one of --attack, --defense and --dataset")
    if dataset is not None:
        checks = contracts.of_dataset(dataset, data_dir)
    elif attack is not None:
        checks = contracts.of_attack(take_attack(attack))
    else:
        checks = contracts.of_defense(str(defense))
    failed = 0
    for rule in checks:
        typer.echo(str(rule))
        failed += rule.status == "failed"
    raise typer.Exit(1 if failed else 0)


def _say(line: str, code: int) -> int:
    shown = (c if c.isprintable() else f"\\u{ord(c):04x}" for c in " ".join(line.split()))
    typer.echo("".join(shown), err=True)
    return code


def _check_text(word: str) -> None:
    """Names go into records, and those are text."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{word!a} is not UTF-8; rename what it names") from None


def main() -> NoReturn:
    """Run the command line; a user's mistake is one line on standard error and exit code 2.

    A mistake of ours is one line too; with --debug it is the traceback.
    """
    words = sorted(sys.argv[1:], key=lambda word: word != DEBUG)  # it may stand anywhere
    try:
        for word in sys.argv:
            _check_text(word)
        check_packages()
        code = app(words or ["--help"], standalone_mode=False)
    except UsageError as error:
        code = _say(f"error: {error}", 2)
    except WRONG_WORDS as error:
        code = _say(f"error: {error.format_message()} (see --help)", 2)
    except typer.Abort:  # what older versions of typer make of Ctrl-C
        code = INTERRUPTED
    except Exception as error:
        if DEBUG in words:
            raise
        code = _say(f"error: this should not happen: {describe(error)}; --debug says more", 2)
    sys.exit(_say("interrupted", 1) if code == INTERRUPTED else code)
