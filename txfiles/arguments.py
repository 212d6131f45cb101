"""Public calls: an unknown or missing keyword is a txfiles error that names the argument meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from txfiles.core import foreign
from txfiles.core.messages import nearest, one_of
from txfiles.errors import ArgumentError
from txfiles.options import OPTIONS

P = ParamSpec("P")
Returned = TypeVar("Returned")


def public(function: Callable[P, Returned]) -> Callable[P, Returned]:
    """Decorate a public call: unknown and missing keywords raise an error that names the argument meant.

    Raises:
        ArgumentError: also a `TypeError`, as Python's own would be.
    """
    return like(function)(function)


def like(model: Callable[P, Any]) -> Callable[[Callable[..., Returned]], Callable[P, Returned]]:
    """Decorate a public call that takes the arguments of `model`, in its signature too. See `public`."""
    signature = inspect.signature(model)
    known = tuple(name for name in signature.parameters if name != "self")
    required = [
        one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY and one.default is one.empty
    ]

    def decorate(function: Callable[..., Returned]) -> Callable[P, Returned]:
        @functools.wraps(function)
        def call(*args: P.args, **given: P.kwargs) -> Returned:
            for name in given:
                if name not in known:
                    raise unknown_argument(function.__qualname__, name, known)
            for name in required:
                if name not in given:
                    raise _missing_argument(function.__qualname__, name)
            return function(*args, **given)

        own = inspect.signature(function)
        call.__signature__ = signature.replace(return_annotation=own.return_annotation)  # type: ignore[attr-defined]
        return call

    return decorate


def unknown_argument(call: str, name: str, known: Iterable[str]) -> ArgumentError:
    """The error for a keyword that a call does not take."""
    known = tuple(known)
    ours = foreign.option_meant(name, known)
    meant = f" (did you mean {ours!r}?)" if ours else nearest(name, known)
    hint = None if ours else foreign.instead(name)
    return ArgumentError(
        f"{call.removesuffix('.__init__')} has no argument {name!r}{meant}",
        hint=hint or f"it takes {', '.join(known)}",
        argument=name,
    )


def _missing_argument(call: str, name: str) -> ArgumentError:
    choices = OPTIONS[name].choices if name in OPTIONS else ()
    hint = f"pass {name}={one_of(choices)}" if choices else f"pass {name}=…"
    return ArgumentError(f"{call} requires {name!r}", hint=hint, argument=name)
