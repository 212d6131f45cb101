"""The available targets, and the choice of one for a call. Nothing here reads or writes."""

from __future__ import annotations

from typing import Any, cast

from txfiles.core.messages import one_of
from txfiles.errors import OptionError, UnsupportedVerbError
from txfiles.options import DEFAULTS, WriteOptions, word
from txfiles.targets.delta.target import DELTA
from txfiles.targets.files.target import FILES
from txfiles.targets.protocol import Place, Target, Verifies
from txfiles.targets.sql.target import SQL

TARGETS: tuple[Target, ...] = (FILES, SQL, DELTA)
"""In the order in which they are asked whether a place is theirs; the first serves places that nobody claims."""


ENGINES = {"local": "data in this process", "spark": "a Spark DataFrame"}


def for_write(place: Place, options: WriteOptions, engine: str = "local") -> Target:
    """The target of a write; it supports the mode and options of the request.

    Args:
        place: where the table is.
        options: of the request.
        engine: where its rows are.
    Raises:
        OptionError: no target has that format, or the target lacks the mode, an option or the engine.
    """
    target = for_place(place)
    able = target.capabilities
    if engine not in able.engines:
        others = [one for one in TARGETS if engine in one.capabilities.engines]
        raise _lacks(f"{target.name} tables cannot be written from {ENGINES[engine]}", others)
    if options.mode not in able.modes:
        others = [one for one in TARGETS if options.mode in one.capabilities.modes]
        raise _lacks(f"{target.name} tables have no mode {options.mode!r}", others)
    for name, default in DEFAULTS.items():
        if name not in ("format", *able.options) and getattr(options, name) != default:
            others = [one for one in TARGETS if name in one.capabilities.options]
            raise _lacks(f"{target.name} tables do not take {name!r}", others)
    return target


def for_place(place: Place) -> Target:
    """The target of a table that may be there.

    Raises:
        OptionError: no target has that format.
    """
    if place.format is not None:
        word("format", place.format, _formats(TARGETS))
        return next(one for one in TARGETS if place.format in one.capabilities.formats)
    return next((target for target in TARGETS if target.claims(place)), TARGETS[0])


def require_verb(target: Target, verb: str, path: str) -> None:
    """Refuse a verb of `Table` that a target lacks.

    Raises:
        UnsupportedVerbError: naming the formats whose tables have it.
    """
    if verb not in target.capabilities.verbs:
        others = tuple(one for one in TARGETS if verb in one.capabilities.verbs)
        raise UnsupportedVerbError(
            f"{path} is a {target.name} table, which does not support {verb!r}", hint=_who_has_it(others), verb=verb
        )


def verifier(place: Place) -> Verifies:
    """The target of a table that is to be verified. Raises `UnsupportedVerbError` if it does not verify."""
    target = for_place(place)
    require_verb(target, "verify", str(place.path))
    able: Any = target
    return cast("Verifies", able)


def _lacks(message: str, others: list[Target]) -> OptionError:
    return OptionError(message, hint=_who_has_it(tuple(others)))


def _who_has_it(others: tuple[Target, ...]) -> str | None:
    return f"tables of format {one_of(_formats(others))} support it" if others else None


def _formats(targets: tuple[Target, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for target in targets for name in target.capabilities.formats))
