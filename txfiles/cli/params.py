"""Parameters of the command line: choices, NAME=VALUE, COLUMN OP VALUE, and options that several verbs share."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, TypeVar

import click

from txfiles.core import foreign
from txfiles.core.messages import nearest, one_of
from txfiles.options import DEFAULTS, FORMATS, OPTIONS, Facts

logger = logging.getLogger("txfiles")

Function = TypeVar("Function", bound=Callable[..., Any])
Condition = tuple[str, str, Any]
Storage = Mapping[str, Any] | None
"""Storage options, as the library takes them."""

OPERATORS = ("=", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "is", "is not")

CONDITION_HELP = (
    "OP is one of = != < <= > >= in 'not in' is 'is not'. A list is separated by commas: id in 1,2,3. For nulls: "
    "COLUMN is null. If the option is repeated, all conditions must hold."
)


CONFIG_OPTION = "--config"
UNLESS_CONFIG = f"Required without {CONFIG_OPTION}."


class Word(click.Choice[str]):
    """One of a fixed set of values; for a misspelt or foreign one, the error says which was meant."""

    def __init__(self, choices: Iterable[str], option: str = "") -> None:
        super().__init__(tuple(choices))
        self.option = option

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """The message for a value that is not a choice."""
        return f"{value!r} is not {one_of(self.choices)}{foreign.meant(self.option, str(value), self.choices)}"


def pair(given: str) -> tuple[str, str]:
    """``NAME=VALUE``, cut at the first equals sign (a type of click)."""
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{given!r} is not of the form NAME=VALUE")
    return name, value


def storage_pair(given: str) -> tuple[str, str]:
    """``NAME=VALUE`` of a storage option; the error does not repeat what may be a secret (a type of click)."""
    if not given.partition("=")[0] or "=" not in given:
        raise click.BadParameter("it is not of the form NAME=VALUE")
    return pair(given)


def typed(given: str) -> tuple[str, str]:
    """``NAME=TYPE``, cut at the last equals sign after which a type follows: names and types may hold one.

    (A type of click.) Where no type follows any, it is cut at the last one outside brackets.
    """
    from txfiles.rows.typenames import is_type

    signs = [at for at, mark in enumerate(given) if mark == "=" and at]
    if not signs:
        raise click.BadParameter(f"{given!r} is not of the form NAME=TYPE")
    cuts = [(given[:at], given[at + 1 :]) for at in reversed(signs)]
    outside = (cut for cut in cuts if all(cut[1].count(a) == cut[1].count(b) for a, b in ("[]", "()", "<>", "{}")))
    return next((cut for cut in cuts if is_type(cut[1])), None) or next(outside, cuts[0])


def mapping(ctx: click.Context, param: click.Parameter, given: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Pairs as a dict; a name given twice is refused, since one value would be lost (a callback of click)."""
    names = [name for name, _ in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.BadParameter(f"{twice!r} is given twice", ctx, param)
    return dict(given)


def dialect(ctx: click.Context, param: click.Parameter, given: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """``--csv`` as `csv=` takes it: lists as a line of CSV, true and false (a callback of click)."""
    found: dict[str, Any] = mapping(ctx, param, given)
    for name, value in found.items():
        if name in ("names", "na_values", "null"):
            found[name] = next(csv.reader([value]), [])
        elif name == "header" and value.lower() in ("true", "false"):
            found[name] = value.lower() == "true"
    return found


def storage(ctx: click.Context, param: click.Parameter, given: tuple[tuple[str, str], ...]) -> Storage:
    """``--storage-option`` as `storage_options=` takes it: switches, and JSON for nested ones (a callback of click)."""
    found: dict[str, Any] = mapping(ctx, param, given)
    for name, value in found.items():
        try:
            found[name] = storage_value(value)
        except ValueError:
            raise click.BadParameter(f"the value of {name!r} is not JSON", ctx, param) from None  # may be secret
    if found:
        from txfiles.store import secret_options  # here: it imports pyarrow, and help should not wait for that

        for name in secret_options.secret_names(found):
            logger.warning("the value of %r can be seen in the list of processes: write '${NAME}' in its place", name)
    return found or None


def storage_value(given: str) -> Any:
    """What a storage option's value means: a switch, JSON, or text. Raises `ValueError` if it is not JSON after all."""
    if given.lower() in ("true", "false"):
        return given.lower() == "true"
    return json.loads(given) if given.startswith("{") else given


PAIRS: dict[str, tuple[Callable[[str], tuple[str, str]], Callable[..., Any]]] = {
    "pairs": (pair, mapping),
    "types": (typed, mapping),
    "dialect": (pair, dialect),
    "storage": (storage_pair, storage),
}
"""For each kind of repeated option, the type of click that reads one, and the callback that puts them together."""


def conditions(ctx: click.Context, param: click.Parameter, given: tuple[tuple[str, str, str], ...]) -> list[Condition]:
    """What ``COLUMN OP VALUE`` means to the library (a callback of click)."""
    return [_condition(ctx, param, *one) for one in given]


def _condition(ctx: click.Context, param: click.Parameter, column: str, op: str, value: str) -> Condition:
    op = op.replace("-", " ").lower()
    if op not in OPERATORS:
        raise click.BadParameter(f"{op!r} is not {one_of(OPERATORS)}{nearest(op, OPERATORS)}", ctx, param)
    if op in ("is", "is not"):
        if value.lower() != "null":
            raise click.BadParameter(f"{op!r} goes with null only, not with {value!r}; compare with =", ctx, param)
        return column, f"{op} null", None
    if op in ("in", "not in"):
        try:
            return column, op, next(csv.reader([value], strict=True), [])
        except csv.Error as error:
            raise click.BadParameter(f"{value!r} is not a line of CSV: {error}", ctx, param) from error
    return column, op, value


def json_option(function: Function) -> Function:
    """``--json``, the same for every verb."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON on stdout, and an error as one JSON object on stderr."
    )(function)


def where_option(help: str) -> Callable[[Function], Function]:
    """``--where``, which may be repeated."""
    return click.option(
        "--where",
        nargs=3,
        multiple=True,
        metavar="COLUMN OP VALUE",
        callback=conditions,
        help=f"{help} {CONDITION_HELP}",
    )


def format_option(function: Function) -> Function:
    """``--format``, for verbs that open a table; where it is not given, a folder tells."""
    return click.option(
        "--format",
        "format_name",
        type=Word(FORMATS, "format"),
        help="What kind of table it is: needed for a Delta table at a URL.",
    )(function)


def lock_option(function: Function) -> Function:
    """``--lock``, the same for every verb that commits."""
    return _option("lock", OPTIONS["lock"])(function)


STORAGE_OPTION = OPTIONS["storage_options"].flag


def storage_option(function: Function) -> Function:
    """``--storage-option``, the same for every verb."""
    return _option("storage_options", OPTIONS["storage_options"])(function)


def options_of_write(*names: str) -> Callable[[Function], Function]:
    """Some options of a write, for another verb that takes them."""
    return lambda function: reduce(lambda done, name: _option(name, OPTIONS[name])(done), reversed(names), function)


def write_options(function: Function) -> Function:
    """The options of a write: those of `options.WriteOptions`, but for what only the library can use."""
    shown = [_option(name, facts) for name, facts in OPTIONS.items() if facts.kind != "library"]
    return reduce(lambda done, option: option(done), reversed(shown), function)


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the shell as arguments of the library, where None means "not given"."""
    return {name: None if value in ((), [], {}) else value for name, value in given.items()}


def _option(name: str, facts: Facts) -> Callable[[Function], Function]:
    flag = facts.flag or f"--{name.replace('_', '-')}"
    more: dict[str, Any] = {"metavar": facts.metavar, "help": facts.help}
    default = DEFAULTS.get(name)
    match facts.kind:
        case "word":
            more["type"] = Word(facts.choices, name)
        case "switch":
            more |= {"is_flag": True, "metavar": None}
        case "columns":
            more["multiple"] = True
        case "pairs" | "types" | "dialect" | "storage":
            kind, callback = PAIRS[facts.kind]
            more |= {"multiple": True, "type": kind, "callback": callback}
        case "filter":
            more |= {"multiple": True, "nargs": 3, "callback": conditions, "help": f"{facts.help} {CONDITION_HELP}"}
        case "seconds":
            more["type"] = click.FloatRange(min=0)
        case "lock":
            more["type"] = click.Path(dir_okay=False)
    if isinstance(default, str | float) and not isinstance(default, bool):
        more |= {"default": default, "show_default": True}
    if name not in DEFAULTS:  # not required by click, since a configuration file may say it
        more["help"] = f"{facts.help} {UNLESS_CONFIG}"
    return click.option(flag, name, **more)


def snapshot_options(function: Function) -> Function:
    """``--version`` and ``--at``, for verbs that can read an older version."""
    at = click.option("--at", metavar="TIME", help="The newest version at TIME, such as 2026-11-01T00:00:00Z.")
    version = click.option(
        "--version", type=click.IntRange(min=0), metavar="N", help="Version N instead of the newest."
    )
    return version(at(function))


def example(*lines: str) -> str:
    """The end of a help text."""
    return "\n".join(["\b", "Example:" if len(lines) == 1 else "Examples:", *(f"  {line}" for line in lines)])
