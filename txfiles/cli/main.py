"""The command `txfiles`: the group of all verbs, and how a process of it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from txfiles.cli import failure, output
from txfiles.cli.adopt import adopt
from txfiles.cli.columns import drop, rename, reorder, widen
from txfiles.cli.describe import files, log, show
from txfiles.cli.examine import doctor, verify
from txfiles.cli.leave import detach
from txfiles.cli.lookback import diff, restore
from txfiles.cli.maintain import compact, index, resolve, set_, vacuum
from txfiles.cli.params import example
from txfiles.cli.read import read
from txfiles.cli.write import delete, plan, write
from txfiles.core.messages import nearest

NAME = "txfiles"

EXAMPLE = example("txfiles write customers.csv --to lake/customers --mode upsert --key id")
EXIT_CODES = """\b
Exit codes:
   0  done                        12  unknown whether it was committed
   1  any other error             13  table damaged or not supported
   2  wrong usage or input        14  the store failed
  10  no such table or version    15  version removed by a vacuum
  11  other commits won           16  needs --force to go on"""


class Verbs(click.Group):
    """Lists verbs in the order in which a newcomer needs them, and reports errors as txfiles does."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb. For an unknown one, the error names the nearest."""
        if not args[0].startswith("-") and args[0] not in self.commands:
            raise click.UsageError(f"there is no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:
        """Run as click's `CliRunner` does: ends by `SystemExit` with the code that the process would have."""
        sys.exit(run(sys.argv[1:] if args is None else args))


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        import txfiles as tx

        output.write_text(f"{NAME} {tx.__version__}")
        output.flush()
        ctx.exit()


@click.group(cls=Verbs, epilog=f"{EXIT_CODES}\n\n{EXAMPLE}")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
def cli() -> None:
    """Transactional tables in plain Parquet and CSV folders.

    Data goes to stdout, everything else to stderr.
    """


def run(args: Sequence[str]) -> int:
    """Run one command line, report its failure, and return the exit code."""
    try:
        with cli.make_context(NAME, list(args)) as context:
            cli.invoke(context)
        output.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message(), err=True)
        return failure.USAGE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the one place where every exception ends
        return _fail(error, args)
    return 0


def _fail(error: BaseException, args: Sequence[str]) -> int:
    # click itself writes the help texts, so there a broken pipe is stdout's; elsewhere it could be a store's.
    if isinstance(error, output.OutputClosedError) or (isinstance(error, BrokenPipeError) and "--help" in args):
        return failure.OUTPUT_CLOSED
    with contextlib.suppress(output.OutputClosedError, output.OutputError):
        output.flush()  # rows from before the failure; only the failure itself is reported
    found = failure.explain(error, args)
    failure.report(found, error, args)
    return found.code


class _ToStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        output.tell(record.levelname.lower(), record.getMessage())


def _end_orderly_on_sigterm() -> None:
    """Make SIGTERM, which schedulers send, end the command like Ctrl-C, unless the parent process ignores it."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def entry() -> NoReturn:
    """The console script. Exits as soon as all is flushed, since Arrow's threads can abort a normal shutdown."""
    args = sys.argv[1:]
    _end_orderly_on_sigterm()
    # With --json a program reads stderr: it may contain nothing but one error object.
    logging.getLogger(NAME).addHandler(logging.NullHandler() if "--json" in args else _ToStderr(logging.WARNING))
    try:
        code = run(args)
    except KeyboardInterrupt:
        code = failure.INTERRUPTED
    if sys.stderr is not None:
        sys.stderr.flush()
    os._exit(code)


for verb in (
    write,
    plan,
    adopt,
    delete,
    show,
    log,
    files,
    read,
    diff,
    restore,
    set_,
    rename,
    drop,
    reorder,
    widen,
    compact,
    index,
    vacuum,
    detach,
    verify,
    doctor,
    resolve,
):
    cli.add_command(verb)

if __name__ == "__main__":
    entry()
