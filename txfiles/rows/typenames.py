"""Names of types: how messages write them, and which ones `schema=` and ``--schema`` accept.

Types are written in Arrow's spelling, except float32: Arrow calls it `float`, which is float64 in Python. Whatever is
written is read back as the same type; the log's spelling and Python's, numpy's and pandas' names are accepted too.

Source: specs/4-semantics.md, "Type names".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from txfiles.core.messages import one_of, short
from txfiles.errors import OptionError

HINT = (
    "types are written as int64, float64, string, bool, date32, timestamp[us, UTC], decimal128(10, 2), list<int64>, "
    "struct<a: int64>; see specs/4-semantics.md"
)
MAX_CHARACTERS = 10_000
"""Of a type's text: it is gone through once for each colon."""

_UNITS = ("s", "ms", "us", "ns")
WORDS: dict[str, Any] = {
    **{f"{sign}int{bits}": getattr(pa, f"{sign}int{bits}")() for sign in ("", "u") for bits in (8, 16, 32, 64)},
    **dict.fromkeys(("float16", "halffloat"), pa.float16()),
    "float32": pa.float32(),
    **dict.fromkeys(("float64", "double", "float"), pa.float64()),
    "int": pa.int64(),
    **dict.fromkeys(("bool", "boolean"), pa.bool_()),
    **dict.fromkeys(("string", "str", "utf8", "large_string", "large_utf8", "string_view"), pa.string()),
    **dict.fromkeys(("binary", "bytes", "large_binary", "binary_view"), pa.binary()),
    **dict.fromkeys(("date32", "date32[day]", "date", "datetime64[d]"), pa.date32()),
    **dict.fromkeys(("date64", "date64[ms]"), pa.date64()),
    "datetime": pa.timestamp("us"),
    "time": pa.time64("us"),
    "timedelta": pa.duration("us"),
    "null": pa.null(),
    **{f"time32[{unit}]": pa.time32(unit) for unit in ("s", "ms")},
    **{f"time64[{unit}]": pa.time64(unit) for unit in ("us", "ns")},
    **{f"{word}[{unit}]": pa.timestamp(unit) for word in ("timestamp", "datetime64") for unit in _UNITS},
    **{f"{word}[{unit}]": pa.duration(unit) for word in ("duration", "timedelta64") for unit in _UNITS},
}
"""Each word for a type that has no parts, in lower case; case does not matter."""

MEANT = {
    **dict.fromkeys(("integer", "bigint", "long", "number", "i64"), "int64"),
    **dict.fromkeys(("smallint", "short"), "int16"),
    **dict.fromkeys(("tinyint", "byte"), "int8"),
    "real": "float32",
    **dict.fromkeys(("text", "varchar", "char", "object", "category", "categorical", "enum"), "string"),
    **dict.fromkeys(("bytea", "blob", "varbinary"), "binary"),
    **dict.fromkeys(("timestamp", "datetime64", "timestamp_ntz"), "timestamp[us]"),
    **dict.fromkeys(("timestamptz", "timestamp_tz"), "timestamp[us, UTC]"),
    **dict.fromkeys(("decimal", "decimal128", "numeric"), "decimal128(38, 2)"),
    **dict.fromkeys(("duration", "timedelta64", "interval"), "duration[us]"),
    **dict.fromkeys(("list", "array"), "list<int64>"),
    "fixed_size_list": "fixed_size_list<int64>[3]",
    **dict.fromkeys(("struct", "record"), "struct<a: int64>"),
    "map": "map<string, int64>",
}
"""Words of SQL and others that leave something open or mean something else elsewhere, and what to write."""

_PATTERNS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Any]], ...] = (
    (
        re.compile(r"(?i:timestamp|datetime64)\[(s|ms|us|ns), ?(?:tz=)?([A-Za-z0-9_+\-/:]+)\]"),
        lambda found: pa.timestamp(found[1], found[2]),
    ),
    (re.compile(r"(?i:fixed_size_binary)\[([0-9]{1,7})\]"), lambda found: pa.binary(int(found[1]))),
    (
        re.compile(r"(?i:decimal(?:32|64|128)?)\(([0-9]{1,2}), ?(-?[0-9]{1,2})\)"),
        lambda found: pa.decimal128(int(found[1]), int(found[2])),
    ),
    (
        re.compile(r"(?i:decimal256)\(([0-9]{1,2}), ?(-?[0-9]{1,2})\)"),
        lambda found: pa.decimal256(int(found[1]), int(found[2])),
    ),
)
_LEAF = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?: ?\[[^\]<>]*\]|\([^)<>]*\))?")
_LISTS = ("list", "large_list", "list_view", "large_list_view")


# ---- written ---------------------------------------------------------------------------------


def type_text(t: pa.DataType) -> str:
    """A type for a message: as Arrow writes it, except for float32."""
    if "float" not in (text := str(t)):
        return text
    is_ = pa.types
    if is_.is_float32(t):
        return "float32"
    if is_.is_struct(t):
        return f"struct<{', '.join(map(_field_text, t))}>"
    if is_.is_map(t):
        return f"map<{type_text(t.key_type)}, {type_text(t.item_type)}>"
    if is_.is_fixed_size_list(t):
        return f"fixed_size_list<{_field_text(t.value_field)}>[{t.list_size}]"
    if text.startswith(tuple(f"{word}<" for word in _LISTS)):
        return f"{text.partition('<')[0]}<{_field_text(t.value_field)}>"
    if is_.is_dictionary(t):
        return f"dictionary<values={type_text(t.value_type)}, indices={t.index_type}, ordered={t.ordered:d}>"
    if is_.is_run_end_encoded(t):
        return f"run_end_encoded<run_ends: {t.run_end_type}, values: {type_text(t.value_type)}>"
    return text


def _field_text(field: pa.Field) -> str:
    return f"{field.name}: {type_text(field.type)}{'' if field.nullable else ' not null'}"


# ---- read ------------------------------------------------------------------------------------


def read_type(text: str) -> pa.DataType:
    """The type that a text names. Encodings, and whether a field may be null, are read and have no meaning.

    A field's name, with its blanks, ends at the first colon that is followed by a type.

    Raises:
        OptionError: it names none; the error has the nearest names that do.
    Cost: O(n) for each colon in it.
    """
    given = re.sub(r"\[(?:pyarrow|python)\]$", "", text.strip())
    parser = _Parser(given[:MAX_CHARACTERS])
    try:
        found = parser.type_at(0)
    except RecursionError:
        raise OptionError(f"{short(text)!r} nests too deep for a type", hint=HINT) from None
    if found is not None and found[1] == len(given):
        return found[0]
    word = parser.unknown[1] or given
    raise OptionError(
        f"{short(word)!r} is not a type{_meant(word)}" + ("" if word == given else f", in {short(given)!r}"),
        hint=HINT,
    )


def is_type(text: str) -> bool:
    """Whether a text names a type."""
    try:
        read_type(text)
    except OptionError:
        return False
    return True


def _meant(word: str) -> str:
    folded = word.lower()
    if (ours := MEANT.get(folded)) is not None:
        return f" (did you mean {ours!r}?)"
    valid = [*WORDS, "timestamp[us, UTC]", "decimal128(38, 2)", "fixed_size_binary[16]"]
    near = difflib.get_close_matches(folded, valid, 3, 0.6)
    return f" (did you mean {one_of(near)}?)" if near else ""


class _Parser:
    """What stands where in a text. Each method gives a type and where it ends, or None where there is none.

    Attributes:
        unknown: the last position of a word that is not a type, and the word.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.unknown = (-1, "")
        self._found: dict[int, tuple[pa.DataType, int] | None] = {}

    def type_at(self, at: int) -> tuple[pa.DataType, int] | None:
        """The type that begins here. Kept, since each place is asked for once for each colon before it."""
        if at not in self._found:
            self._found[at] = self._nested(at) or self._leaf(at)
        return self._found[at]

    def _leaf(self, at: int) -> tuple[pa.DataType, int] | None:
        found = _LEAF.match(self.text, at)
        if found is None:
            return None
        word = re.sub(r"\s+", "", found[0]).replace(",", ", ")
        if (t := WORDS.get(word.lower())) is not None:
            return t, found.end()
        for pattern, make in _PATTERNS:
            if match := pattern.fullmatch(word):
                try:
                    return make(match), found.end()
                except (pa.ArrowInvalid, ValueError):
                    break  # a precision that no decimal has
        self.unknown = max(self.unknown, (at, found[0]))
        return None

    def _nested(self, at: int) -> tuple[pa.DataType, int] | None:
        found = re.compile(r"([a-z_]+) ?<", re.IGNORECASE).match(self.text, at)
        if found is None:
            return None
        word, inside = found[1].lower(), found.end()
        if word in _LISTS:
            return self._closed(self._item(inside), pa.list_)
        if word == "fixed_size_list":
            return self._fixed(self._item(inside))
        if word == "struct":
            return self._struct(inside)
        if word == "map":
            return self._map(inside)
        if word == "dictionary":
            values = self.type_at(inside + len("values=")) if self.text.startswith("values=", inside) else None
            return self._rest(values, r", indices=u?int[0-9]+, ordered=[01]>")
        if word == "run_end_encoded":
            runs = re.compile(r"run_ends: int[0-9]+, values: ").match(self.text, inside)
            return self._rest(self.type_at(runs.end()) if runs else None, ">")
        return None

    def _rest(self, found: tuple[pa.DataType, int] | None, pattern: str) -> tuple[pa.DataType, int] | None:
        """The same type, if the pattern follows it, and where that ends."""
        if found is None or not (match := re.compile(pattern).match(self.text, found[1])):
            return None
        return found[0], match.end()

    def _closed(
        self, found: tuple[pa.DataType, int] | None, make: Callable[[Any], Any]
    ) -> tuple[pa.DataType, int] | None:
        done = self._rest(found, " ?>")
        return (make(done[0]), done[1]) if done else None

    def _item(self, at: int) -> tuple[pa.DataType, int] | None:
        """What a list holds: a type, or a field with a name that does not matter."""
        if bare := self._rest(self.type_at(at), r"(?: not null)?(?= ?>)"):
            return bare
        field = self._field(at)
        return field[1] if field else None

    def _fixed(self, item: tuple[pa.DataType, int] | None) -> tuple[pa.DataType, int] | None:
        done = self._rest(item, r" ?> ?\[[0-9]{1,7}\]")
        if done is None or item is None:
            return None
        size = int(re.sub(r"[^0-9]", "", self.text[item[1] : done[1]]))
        return pa.list_(done[0], size), done[1]

    def _map(self, at: int) -> tuple[pa.DataType, int] | None:
        key = self._rest(self.type_at(at), r"(?: not null)?(?: \('[^']*'\))?, ?")
        item = self.type_at(key[1]) if key else None
        item = self._rest(item, r"(?: not null)?(?: \('[^']*'\))?(?:, keys_sorted)? ?>")
        if key is None or item is None or pa.types.is_null(key[0]):  # no map has keys of type null
            return None
        return pa.map_(key[0], item[0]), item[1]

    def _struct(self, at: int) -> tuple[pa.DataType, int] | None:
        fields = []
        while (found := self._field(at)) is not None:
            name, (t, end) = found
            fields.append(pa.field(name, t))
            if re.compile(" ?>").match(self.text, end):
                return pa.struct(fields), self.text.index(">", end) + 1
            at = end + 2 if self.text.startswith(", ", end) else end + 1
        return None

    def _field(self, at: int) -> tuple[str, tuple[pa.DataType, int]] | None:
        """A name, and its type."""
        for colon in re.compile(":").finditer(self.text, at):
            start = colon.end() + self.text.startswith(" ", colon.end())
            if found := self._rest(self.type_at(start), r"(?: not null)?(?=,| ?>)"):
                return self.text[at : colon.start()], found
        return None
