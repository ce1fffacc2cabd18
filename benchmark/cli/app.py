"""Commands that take no flag twice in silence: of two values, click would keep the last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType

from benchmark.core.errors import UsageError


class Once(TyperCommand):
    """A command whose flags are given once, but for those that take a list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever; UsageError for a flag with two values, whichever they are."""
        order: list[Any] = self.make_parser(ctx).parse_args(args=[*args])[-1]
        for flag, times in Counter(order).items():
            if times > 1 and not (flag.multiple or flag.is_flag):
                raise UsageError(f"{flag.opts[0]} is given {times} times; keep one")
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """A typer all of whose commands are such."""

    def command(  # type: ignore[override]  # of its many parameters, those that we use
        self, name: str | None = None, *, epilog: str | None = None
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=Once, epilog=epilog)
