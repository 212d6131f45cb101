"""The noun that every story works on: a table at one version."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from txfiles.core.replay import State


@dataclass(frozen=True)
class Snapshot:
    """The table at one version: its state, and its files as one Arrow table (`rows.filelist`)."""

    state: State
    files: pa.Table
