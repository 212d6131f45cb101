"""From an exception to a message for a person, an object for a program, and an exit code for the shell."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from txfiles import errors
from txfiles.cli import output, params
from txfiles.core import foreign
from txfiles.core.messages import nearest, one_of, redact

OTHER = 1
USAGE = 2
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""
OUTPUT_CLOSED = 141
"""128 + SIGPIPE: the exit code of `cat` when `head` has seen enough."""

EXIT_CODES: tuple[tuple[type[errors.TxFilesError], int], ...] = (
    (errors.InputError, USAGE),
    (errors.TableNotFoundError, 10),
    (errors.TableDetachedError, 10),
    (errors.CommitConflictError, 11),
    (errors.CommitStateUnknownError, 12),
    (errors.CorruptTableError, 13),
    (errors.UnsupportedTableError, 13),
    (errors.StoreError, 14),
    (errors.EngineError, 14),
    (errors.SnapshotExpiredError, 15),
    (errors.ConfirmationRequiredError, 16),
)

WRITING_VERBS = frozenset(
    (
        "write",
        "adopt",
        "delete",
        "set",
        "rename",
        "drop",
        "reorder",
        "widen",
        "compact",
        "index",
        "vacuum",
        "restore",
        "detach",
    )
)
"""Verbs that commit: if one is interrupted, the commit may have happened."""


@dataclass(frozen=True)
class Failure:
    """Why a command ended early.

    Attributes:
        code: the process's exit code.
        kind: a stable word for programs.
        message: what happened.
        hint: what to do next.
        committed: ``"no"``, ``"yes"`` or ``"unknown"``.
        evidence: facts for programs.
    """

    code: int
    kind: str
    message: str
    hint: str | None = None
    committed: str = "no"
    evidence: dict[str, Any] = field(default_factory=dict)


def explain(error: BaseException, args: Sequence[str]) -> Failure:
    """Classify an exception. An unexpected one is an internal error, never a traceback."""
    if isinstance(error, errors.TxFilesError):
        code = next((code for cause, code in EXIT_CODES if isinstance(error, cause)), OTHER)
        return Failure(code, error.kind, error.message, error.hint, error.committed, error.evidence)
    if isinstance(error, click.ClickException):
        return _usage(error, args)
    if isinstance(error, output.OutputError):
        return Failure(OTHER, "output", str(error), committed=_committed(args))
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return Failure(INTERRUPTED, "interrupted", _interrupted(args), committed=_committed(args))
    return Failure(
        OTHER,
        "internal",
        _redacted(f"internal error: {type(error).__name__}: {error}", args),
        "please report it; with TXFILES_DEBUG=1 in the environment the traceback is shown",
        _committed(args),
    )


def report(failure: Failure, error: BaseException, args: Sequence[str]) -> None:
    """Report a failure on stderr: lines for a person, or one JSON object for a program."""
    debug = os.environ.get("TXFILES_DEBUG", "") not in ("", "0")
    trace = _redacted("".join(traceback.format_exception(error)), args) if debug else None
    if "--json" in args:
        document = {
            "kind": failure.kind,
            "message": failure.message,
            "hint": failure.hint,
            "committed": failure.committed,
            "evidence": failure.evidence,
        }
        click.echo(output.to_json(document | ({"traceback": trace} if trace else {})), err=True)
        return
    if trace:
        click.echo(trace, err=True, nl=False)
    output.tell("error", failure.message)
    if failure.hint:
        output.tell("hint", failure.hint)


def _redacted(text: str, args: Sequence[str]) -> str:
    """A text that may repeat parts of the command line, without secrets from URLs and storage options."""
    for given in args:
        if redact(given) != given:
            text = text.replace(given, redact(given))
    options = list(_storage_options(args))
    if options:
        from txfiles.store import secret_options  # here: it imports pyarrow, and only these need it

        text = secret_options.hidden(text, *options)
    return text


def _storage_options(args: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The storage options of a command line, as they stand there and as they are understood; of its file, too."""
    for before, word in zip(("", *args), args, strict=False):
        if before == params.STORAGE_OPTION or word.startswith(f"{params.STORAGE_OPTION}="):
            name, _, value = word.removeprefix(f"{params.STORAGE_OPTION}=").partition("=")
            yield {name: value}
            with contextlib.suppress(ValueError, errors.OptionError):
                from txfiles.store import secret_options

                yield secret_options.resolved({name: params.storage_value(value)})
        if before == params.CONFIG_OPTION or word.startswith(f"{params.CONFIG_OPTION}="):
            with contextlib.suppress(Exception):  # the file may be anything, and the first error is the one to tell
                from txfiles.config import load_config

                yield from load_config(word.removeprefix(f"{params.CONFIG_OPTION}=")).secrets()


def _committed(args: Sequence[str]) -> str:
    return "unknown" if args and args[0] in WRITING_VERBS else "no"


def _interrupted(args: Sequence[str]) -> str:
    if _committed(args) == "unknown":
        return "interrupted; 'txfiles log PATH' shows whether it was committed"
    return "interrupted"


def _usage(error: click.ClickException, args: Sequence[str]) -> Failure:
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "txfiles"
    hint = f"'{path} --help' shows the options and an example"
    return Failure(USAGE, "usage", _redacted(_usage_message(error, context), args), hint)


def _usage_message(error: click.ClickException, context: click.Context | None) -> str:
    if isinstance(error, click.MissingParameter) and error.param is not None:
        what = f"the {error.param.param_type_name} {error.param.get_error_hint(context)} is missing"
        kind = error.param.type
        return f"{what}; it is one of {one_of(map(str, kind.choices))}" if isinstance(kind, click.Choice) else what
    if isinstance(error, click.BadParameter) and error.param is not None:
        return f"{error.param.get_error_hint(context)}: {_plain(error.message)}"
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name!r}{_option_meant(error.option_name, context)}"
    return _plain(error.format_message())


SHELL_NAMES = {"filter": "where", "timestamp": "at"}
"""Arguments of the library that have another name in the shell."""


def _option_meant(given: str, context: click.Context | None) -> str:
    """The option with that meaning in other libraries, otherwise the nearest in spelling."""
    if context is None or foreign.instead(given.lstrip("-")):
        return ""
    params = [param for param in context.command.get_params(context) if isinstance(param, click.Option)]
    ours = {shell: name for name, shell in SHELL_NAMES.items()}
    flags = {ours.get(param.name or "", param.name or ""): param.opts[0] for param in params}
    meant = foreign.option_meant(given.lstrip("-"), flags)
    word = given.lstrip("-").replace("-", "_")
    if meant is None and word in flags:  # the library's own name of it
        meant = word
    if meant is not None:
        return f" (did you mean {flags[meant]!r}?)"
    return nearest(given, [name for param in params for name in param.opts])


def _plain(message: str) -> str:
    message = message.strip().removesuffix(".")
    return message[:1].lower() + message[1:]
