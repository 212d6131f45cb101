"""`txfiles.verify` and `Table.verify` of plain files."""

from __future__ import annotations

from txfiles.findings import VerifyOptions, VerifyResult
from txfiles.log.session import Session
from txfiles.operations import verify as operation
from txfiles.options import Progress


def verify(session: Session, version: int | None, options: VerifyOptions) -> VerifyResult:
    """Check the log, and the files of a version; None: the newest that can be read. Opens nothing before."""

    def report(stage: str, done: int, total: int | None) -> None:
        options.progress(Progress(stage, done, total))

    return operation.verify(session, version, deep=options.deep, report=report)
