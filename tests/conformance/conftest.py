"""The hooks of the conformance suite, for its own folder."""

from __future__ import annotations

from tests.conformance.hooks import pytest_collection_modifyitems, pytest_pyfunc_call

__all__ = ["pytest_collection_modifyitems", "pytest_pyfunc_call"]
