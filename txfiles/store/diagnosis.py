"""What `doctor` finds out about a store: frozen facts.

Source: specs/16-verify.md, "Doctor".
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that `doctor` tried.

    Attributes:
        name: a stable word, for programs.
        status: ``ok``, ``warning``, ``failed``, ``denied`` (the permission is missing) or ``skipped``.
        found: what was seen.
        hint: what to do about it.
    """

    name: str
    status: str
    found: str
    hint: str | None = None


@dataclass(frozen=True, kw_only=True)
class DoctorResult:
    """What `txfiles.doctor` found out about a store.

    Attributes:
        ok: tables can be kept there: nothing failed or was denied.
        url: where it looked.
        backend: the library that serves it; None for a folder.
        checks: in the order in which they were made.
    """

    ok: bool
    url: str
    backend: str | None
    checks: tuple[Check, ...] = field(default=())
