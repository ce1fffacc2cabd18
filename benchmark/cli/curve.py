"""`curve`: one attack at many strengths, as an ordinary plan, and what its records say together."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.cli.dry_run import show as show_plan
from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, number, split
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import Suite, make_request

if TYPE_CHECKING:
    from reports.summary.curve import Curve

WHOLE = Suite(description="curve", shots=[0])
"""No attack has a scope of its own: every point is of the same images and draws."""


class Varied(NamedTuple):
    """An option of attacks, and its values as the user wrote them, by growing size, each once."""

    option: str
    values: list[str]

    @classmethod
    def parse(cls, text: str) -> Varied:
        """Read `eps=0,8/255,0.1`; UsageError for anything else, or a single value."""
        option, equals, rest = text.partition("=")
        found: dict[float, str] = {}
        try:
            for part in split(rest):
                found.setdefault(number(part), part)
        except (ValueError, ZeroDivisionError):
            found = {}
        if not (option.strip() and equals and len(found) > 1):
            raise UsageError(
                f"--vary {text}: expected an option and at least two numbers, such as "
                "eps=0,0.1,0.2 or steps=1,10,100"
            )
        return cls(option.strip(), [found[value] for value in sorted(found)])

    def attacks(self, text: str) -> str:
        """The attacks in `text`, each with every value, as `--attacks` takes them."""
        specs = [Spec.parse(part) for part in split(text)]
        for spec in specs:
            if self.option in dict(spec.options):
                raise UsageError(f"--vary {self.option} and {spec}: both set it; drop one")
        return ",".join(
            str(Spec(spec.name, tuple(sorted((*spec.options, (self.option, value))))))
            for spec in specs
            for value in self.values
        )


def curve(  # noqa: PLR0913 (what the command says)
    values: Mapping[str, Any], varied: Varied, settings: RunSettings, out: Path | None, *,
    ordered: bool, quiet: bool, json: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Run every point, print and draw the curves; the exit code: 1 where cells failed.

    Args:
        values: what is asked for, by field of a `Request`; `attacks` without the option.
        varied: the option.
        settings: as flags say.
        out: folder of the files; None is `curves` in the results.
        ordered: whether more of the option must break at least as many images.
        quiet: no progress and no table.
        json: points and remarks as JSON.
        dry_run: show the plan only.
    """
    settings = launch.check(settings)
    request = make_request({**values, "attacks": varied.attacks(values["attacks"])})
    plan = make_plan(request, WHOLE, settings.strengths)
    settings = launch.prepare(plan, settings)
    if dry_run:
        show_plan(plan, settings, json)
        return 0
    if not quiet:
        launch.tell_before(plan, settings)
    ended = launch.fill(plan, settings, defense_texts(request, WHOLE), quiet)
    if ended is None:
        return 1
    found = _curve(plan, varied.option, settings.results, ordered)
    _show(found, out or settings.results / "curves", json=json, quiet=quiet)
    return launch.told_failures(ended)


def _curve(plan: Plan, option: str, results: Path, ordered: bool) -> Curve:
    from reports.summary.curve import curve
    from reports.tidy.frame import from_records

    (facts,) = plan.facts.values()
    frame = from_records(launch.records_of(plan, results), here=True)
    return curve(frame, option, facts.classes, ordered)


def _show(found: Curve, out: Path, *, json: bool, quiet: bool) -> None:
    """The table on standard output, remarks and names of files beside it."""
    from reports.summary.curve import as_json, grids, print_grid, write_curve

    files: Sequence[Path] = write_curve(found, out) if len(found.table) else ()
    if json:
        print(json_module.dumps(as_json(found), allow_nan=False))
        return
    if not quiet:
        for title, heads, lines in grids(found):
            print_grid(title, heads, lines)
    for line in found.remarks:
        print(line)
    for path in files:
        print(path, file=sys.stderr)
