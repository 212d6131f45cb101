"""Table properties: names, values, durations."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txfiles.core import properties
from txfiles.core.properties import PROPERTIES, duration_us, effective, read_properties
from txfiles.errors import OptionError, UnsupportedTableError


def test_defaults_are_valid_and_in_force() -> None:
    """What nobody set has its default, and each default could be set as it is."""
    defaults = {name: known.default for name, known in PROPERTIES.items()}
    assert effective({}) == defaults
    assert read_properties(defaults) == defaults
    assert effective({"row_group_rows": 7}) == defaults | {"row_group_rows": 7}


ACCEPTED: list[tuple[str, Any, Any]] = [
    ("compression", "zstd", "zstd"),
    ("target_file_bytes", 1_024, 1_024),
    ("target_file_bytes", "1_000_000", 1_000_000),
    ("row_group_rows", "7", 7),
    ("checkpoint_interval", 1_000_000, 1_000_000),
    ("batch_ids_kept", 0, 0),
    ("vacuum_retain", "12h", "12h"),
    ("vacuum_retain", "0", "0"),
    ("vacuum_retain", " 30m ", "30m"),
    ("vacuum_grace", timedelta(minutes=2), "120s"),
    ("vacuum_grace", timedelta(milliseconds=1_500), "2s"),
    ("vacuum_grace", timedelta(0), "0s"),
    ("case_sensitive_names", True, True),
    ("case_sensitive_names", "true", True),
    ("case_sensitive_names", "false", False),
]


@pytest.mark.parametrize(("name", "given_value", "kept"), ACCEPTED)
def test_a_valid_value_is_read(name: str, given_value: Any, kept: Any) -> None:
    """Values come as they are, or as the text that a shell gives; what is kept reads as itself."""
    assert read_properties({name: given_value}) == {name: kept}
    assert read_properties({name: kept}) == {name: kept}


REFUSED: list[tuple[str, Any, str]] = [
    ("compression", "zst", "did you mean 'zstd'"),
    ("compression", "SNAPPY", "'none', 'snappy'"),
    ("compression", None, "'none', 'snappy'"),
    ("compression", ["zstd"], "'none', 'snappy'"),
    ("target_file_bytes", 1_023, "from 1024"),
    ("target_file_bytes", 2**40 + 1, "from 1024"),
    ("target_file_bytes", 10**30, "from 1024"),
    ("row_group_rows", 0, "from 1"),
    ("row_group_rows", -1, "from 1"),
    ("row_group_rows", True, "an integer"),
    ("row_group_rows", 7.0, "an integer"),
    ("row_group_rows", "seven", "an integer"),
    ("row_group_rows", "", "an integer"),
    ("row_group_rows", None, "an integer"),
    ("vacuum_retain", "7", "a duration"),
    ("vacuum_retain", "-7d", "a duration"),
    ("vacuum_retain", "7w", "a duration"),
    ("vacuum_retain", 7, "a duration"),
    ("vacuum_retain", None, "a duration"),
    ("vacuum_retain", timedelta(days=-1), "a duration"),
    ("case_sensitive_names", 1, "true or false"),
    ("case_sensitive_names", "yes", "true or false"),
    ("case_sensitive_names", None, "true or false"),
    ("case_sensitive_names", ["true"], "true or false"),
    ("compresion", "zstd", "did you mean 'compression'"),
    ("", "zstd", "unknown table property ''"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_an_unknown_name_or_value_is_refused(name: str, value: Any, said: str) -> None:
    """The message names the property, what was given, what is valid, and the nearest valid word."""
    with pytest.raises(OptionError, match=said) as caught:
        read_properties({name: value})
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0s", 0), ("45s", 45), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800), ("7 d", 604_800)],
)
def test_durations(text: str, seconds: int) -> None:
    """Days, hours, minutes, seconds, or 0."""
    assert duration_us(text) == seconds * 1_000_000
    assert duration_us(timedelta(seconds=seconds)) == seconds * 1_000_000


@given(st.timedeltas(min_value=timedelta(0)))
def test_a_duration_that_is_kept_is_never_shorter(duration: timedelta) -> None:
    """A timedelta of any length is kept in whole seconds, rounded up."""
    kept = read_properties({"vacuum_retain": duration})["vacuum_retain"]
    assert 0 <= duration_us(str(kept)) - duration_us(duration) < 1_000_000


@pytest.mark.parametrize("given_value", ["", "d", "7", "1.5h", "1h30m", "٧d", "7 days", timedelta(microseconds=-1)])
def test_what_is_no_duration_is_refused(given_value: str | timedelta) -> None:
    """Anything else is an error."""
    with pytest.raises(OptionError, match="duration"):
        duration_us(given_value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_ids_kept", "many"), ("checkpoint_interval", 0), ("row_group_rows", 1.5), ("row_group_rows", True)],
)
def test_a_number_in_the_log_that_cannot_be_one_is_refused(name: str, value: Any) -> None:
    """What a hostile or later log gives to a property is checked where it is used, and named."""
    with pytest.raises(UnsupportedTableError, match=name):
        properties.integer({name: value}, name)


def test_a_word_in_the_log_that_is_not_known_is_refused() -> None:
    """A codec or duration that this release does not know is never passed on."""
    for name, value in (("compression", "brotli"), ("vacuum_retain", "forever"), ("compression", 7)):
        with pytest.raises(UnsupportedTableError, match=name):
            properties.text({name: value}, name)
    assert properties.text({"compression": "zstd"}, "compression") == "zstd"
    assert properties.integer({}, "row_group_rows") == PROPERTIES["row_group_rows"].default


def test_a_switch_in_the_log() -> None:
    """A switch is what the log says, false where it says nothing; what is neither is refused by name."""
    assert properties.switch({"case_sensitive_names": True}, "case_sensitive_names")
    assert not properties.switch({}, "case_sensitive_names")
    with pytest.raises(UnsupportedTableError, match="case_sensitive_names"):
        properties.switch({"case_sensitive_names": "no"}, "case_sensitive_names")
