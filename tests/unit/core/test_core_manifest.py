"""Manifests and sidecars: exact inverses, sealed, and nothing hostile gets through."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import TABLE_ID, actions, manifests, tables
from txfiles.core import codec, names
from txfiles.core.manifest import Actions, Manifest, TableMetadata
from txfiles.errors import CorruptTableError, InputError, UnsupportedTableError

FEWER = settings(max_examples=max(1, settings.default.max_examples // 4))
"""Whole manifests take their time to draw."""

WHERE = "the manifest"
COMMIT = "5d41402abc4b2a76b9719d911017c592"
DATA = f"part-{TABLE_ID}-{COMMIT}-00000.parquet"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
SIDECAR = f"{7:020d}-{COMMIT}.json"


def seal(body: bytes) -> bytes:
    """Give any bytes that end in `}` a seal that fits."""
    unsealed = body.rstrip()[:-1] + b", "
    return unsealed + b'"sha256": "' + codec.sha256(unsealed).encode() + b'"}\n'


def document(**changes: Any) -> dict[str, Any]:
    """A valid version 7 that has every part; a part changed to `...` is left out."""
    whole: dict[str, Any] = {
        "format_version": 1,
        "version": 7,
        "table_id": TABLE_ID,
        "commit_id": COMMIT,
        "parent_sha256": HASH,
        "time": "2026-11-24T03:44:00.000001Z",
        "operation": {"name": "upsert", "read_version": 6, "keys": ["id"], "user_metadata": {"run": "17"}},
        "metrics": {"rows_in": 1},
        "table": table(),
        "checkpoint": {"version": 6, "id": "d" * 32, "bytes": 9, "sha256": HASH},
        "vacuum": {"oldest_readable_version": 3, "deletes": [f"c=1/{DATA}"]},
        "add": [add()],
        "remove": [{"path": f"c=a%2525/{DATA}"}],
    }
    return {name: value for name, value in (whole | changes).items() if value is not ...}


def table(**changes: Any) -> dict[str, Any]:
    columns = [{"id": 1, "name": "id", "type": "int64"}, {"id": 2, "name": "country", "type": "string"}]
    known = {"format": "parquet", "columns": columns, "last_column_id": 2, "keys": [1], "partition_by": [2]}
    return known | changes


def add(**changes: Any) -> dict[str, Any]:
    stats = {"1": {"nulls": 0, "min": "17", "max": "17"}}
    known = {"path": f"country=DE/{DATA}", "rows": 1, "bytes": 1093, "sha256": HASH, "partition": ["DE"]}
    return known | {"stats": stats, "key_range": {"columns": [1], "min": "00"}} | changes


def sidecar(**changes: Any) -> dict[str, Any]:
    return {"name": SIDECAR, "bytes": 10, "sha256": HASH} | changes


def decode(found: dict[str, Any] | bytes) -> Manifest:
    body = found if isinstance(found, bytes) else json.dumps(found).encode()
    return codec.decode(seal(body), version=7, where=WHERE)


# ---- what was written comes back -------------------------------------------------------------


@given(manifests())
def test_decode_is_the_inverse_of_encode(manifest: Manifest) -> None:
    """Every manifest comes back as it was, to the last field, and encodes to the same bytes again."""
    data = codec.encode(manifest)
    again = codec.decode(data, version=manifest.version, where=WHERE)
    assert again == manifest
    assert codec.encode(again) == data


@given(actions)
def test_a_sidecar_comes_back_as_it_was(found: Actions) -> None:
    """Every list of actions comes back from its sidecar."""
    assert codec.decode_actions(codec.encode_actions(found), table_id=TABLE_ID, where=WHERE) == found


@FEWER
@given(manifests())
def test_an_encoded_manifest_is_readable_json_with_its_seal_last(manifest: Manifest) -> None:
    """Any JSON parser reads a manifest; its last field is the digest of the bytes before that field's name."""
    data = codec.encode(manifest)
    found = json.loads(data)
    assert list(found)[-1] == "sha256"
    assert found["sha256"] == codec.sha256(data[: data.rindex(b'"sha256"')])
    assert data.count(b"\n") > len(found)


def test_the_example_of_these_tests_is_valid() -> None:
    """What the hostile documents below differ from is accepted, so that each fails for its own reason."""
    found = decode(document())
    assert (found.version, found.add[0].rows, found.operation.keys) == (7, 1, ("id",))
    assert decode(document(add=[], remove=[], vacuum=..., sidecar=sidecar())).sidecar is not None


@given(tables())
def test_unknown_fields_of_the_table_are_carried_along(found: TableMetadata) -> None:
    """A newer writer's optional facts about the table survive an older one's rewriting of the table action."""
    manifest = decode(document())
    written = codec.encode(msgspec.structs.replace(manifest, table=found))
    assert codec.decode(written, version=7, where=WHERE).table == found
    assert found.extra.items() <= json.loads(written)["table"].items()


def test_unknown_fields_elsewhere_are_ignored() -> None:
    """Fields that this release does not know change nothing about what it reads."""
    new = {"new": [1, {"x": None}]}
    operation = document()["operation"] | new
    extended = document(**new, operation=operation, metrics={"rows_in": 1} | new, add=[add(**new)])
    assert decode(extended) == decode(document())


# ---- damage ----------------------------------------------------------------------------------


@FEWER
@given(manifests(), st.data())
def test_any_flipped_byte_is_noticed(manifest: Manifest, data: st.DataObject) -> None:
    """Whatever bit of a manifest changes, it is refused."""
    whole = bytearray(codec.encode(manifest))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    _refused_or_same(bytes(whole), manifest)


@FEWER
@given(manifests(), st.data())
def test_a_truncated_manifest_is_noticed(manifest: Manifest, data: st.DataObject) -> None:
    """Wherever a manifest ends too early, it is refused."""
    whole = codec.encode(manifest)
    _refused_or_same(whole[: data.draw(st.integers(0, len(whole) - 1))], manifest)


@FEWER
@given(manifests(), st.binary(min_size=1, max_size=4))
def test_appended_bytes_are_noticed(manifest: Manifest, more: bytes) -> None:
    """Whatever follows a manifest, it is refused."""
    _refused_or_same(codec.encode(manifest) + more, manifest)


def test_each_byte_of_one_manifest() -> None:
    """Every single byte counts: flipped, cut before, or doubled."""
    manifest = decode(document())
    whole = codec.encode(manifest)
    for at in range(len(whole)):
        flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        for damaged in (flipped, whole[:at], whole[:at] + whole[at : at + 1] + whole[at:]):
            _refused_or_same(damaged, manifest)


def _refused_or_same(data: bytes, manifest: Manifest) -> None:
    """Refused; only the white space of the seal's own field may change, for it says nothing."""
    try:
        found = codec.decode(data, version=manifest.version, where=WHERE)
    except CorruptTableError:
        return
    whole = codec.encode(manifest)
    at = whole.rindex(b'"sha256"')
    assert found == manifest
    assert data[:at] == whole[:at]
    assert b"".join(data[at:].split()) == b"".join(whole[at:].split())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"\xef\xbb\xbf" + codec.encode(decode(document())),
        codec.encode(decode(document())).replace(b'"sha256"', b'"SHA256"'),
        codec.encode(decode(document())).decode().encode("utf-16"),
        seal(json.dumps(document()).encode())[:-2] + b', "later": 1}',
        seal(json.dumps(document()).encode())[:-2] + b"}}",
    ],
    ids=["empty", "no field", "null", "BOM", "no seal", "UTF-16", "field after the seal", "two braces"],
)
def test_what_has_no_seal_at_its_end_is_refused(data: bytes) -> None:
    """A document without a fitting seal as its last field is damage."""
    with pytest.raises(CorruptTableError, match="sha256"):
        codec.decode(data, version=7, where=WHERE)


# ---- hostile documents whose seal fits -------------------------------------------------------

WRONG: dict[str, dict[str, Any]] = {
    "version is a boolean": {"version": True},
    "version is a float": {"version": 7.0},
    "version is text": {"version": "7"},
    "version is negative": {"version": -7},
    "version is another one": {"version": 8},
    "version is huge": {"version": 10**400},
    "version is left out": {"version": ...},
    "format version is text": {"format_version": "1"},
    "format version is a boolean": {"format_version": True},
    "table id is short": {"table_id": "1f"},
    "table id is upper case": {"table_id": TABLE_ID.upper()},
    "table id ends in a newline": {"table_id": TABLE_ID + "\n"},
    "commit id ends in a newline": {"commit_id": COMMIT + "\n"},
    "commit id is a path": {"commit_id": "../" + COMMIT[3:]},
    "hash ends in a newline": {"parent_sha256": HASH + "\n"},
    "hash is upper case": {"parent_sha256": HASH.upper()},
    "time has no zone": {"time": "2026-11-24T03:44:00.000001"},
    "time has another zone": {"time": "2026-11-24T03:44:00.000001+01"},
    "time has digits of another script": {"time": "٢٠٢٦-11-24T03:44:00.000001Z"},
    "time is no day": {"time": "2026-02-30T03:44:00.000001Z"},
    "time is a number": {"time": 1},
    "operation is text": {"operation": "upsert"},
    "operation is left out": {"operation": ...},
    "user metadata is a number": {"operation": {"name": "upsert", "user_metadata": {"run": 17}}},
    "keys are one text": {"operation": {"name": "upsert", "keys": "id"}},
    "metrics are negative": {"metrics": {"rows_in": -1}},
    "metrics are beyond 62 bits": {"metrics": {"rows_in": 2**62 + 1}},
    "metrics are floats": {"metrics": {"rows_in": 1.5}},
    "metrics are left out": {"metrics": ...},
    "table is a list": {"table": []},
    "table has a file format of no name": {"table": table(format=None)},
    "columns are beyond the last id": {"table": table(last_column_id=1)},
    "column id is zero": {"table": table(columns=[{"id": 0, "name": "id", "type": "int64"}])},
    "column id is beyond 31 bits": {
        "table": table(columns=[{"id": 2**31, "name": "id", "type": "int64"}], last_column_id=2**40)
    },
    "column type is a number": {"table": table(columns=[{"id": 1, "name": "id", "type": 64}])},
    "column has no name": {"table": table(columns=[{"id": 1, "name": "", "type": "int64"}], keys=[], partition_by=[])},
    "two columns have one id": {
        "table": table(columns=[{"id": 1, "name": n, "type": "int8"} for n in ("id", "country")])
    },
    "two columns have one name": {
        "table": table(columns=[{"id": i, "name": "id", "type": "int8"} for i in (1, 2)], partition_by=[])
    },
    "keys are no columns": {"table": table(keys=[3])},
    "keys repeat": {"table": table(keys=[1, 1])},
    "partition columns are no columns": {"table": table(partition_by=[3])},
    "timestamp column is no column": {"table": table(timestamp_col=3)},
    "property is a list": {"table": table(properties={"compression": ["snappy"]})},
    "checkpoint is of this version": {"checkpoint": {"version": 7, "id": "d" * 32, "bytes": 9, "sha256": HASH}},
    "checkpoint is of a later version": {"checkpoint": {"version": 900, "id": "d" * 32, "bytes": 9, "sha256": HASH}},
    "sidecar is a path": {"add": [], "remove": [], "vacuum": ..., "sidecar": sidecar(name="../" + SIDECAR)},
    "sidecar ends in a newline": {"add": [], "remove": [], "vacuum": ..., "sidecar": sidecar(name=SIDECAR + "\n")},
    "sidecar is another version's": {
        "add": [], "remove": [], "vacuum": ..., "sidecar": sidecar(name=f"{8:020d}-{COMMIT}.json")
    },
    "sidecar stands beside an add": {"remove": [], "vacuum": ..., "sidecar": sidecar()},
    "sidecar stands beside deletes": {"add": [], "remove": [], "sidecar": sidecar()},
    "sidecar size is negative": {"add": [], "remove": [], "vacuum": ..., "sidecar": sidecar(bytes=-1)},
    "add is one object": {"add": add()},
    "add is twice there": {"add": [add(), add()]},
    "remove is twice there": {"remove": [{"path": DATA}] * 2},
    "rows are negative": {"add": [add(rows=-1)]},
    "rows are a boolean": {"add": [add(rows=True)]},
    "bytes are a float": {"add": [add(bytes=1093.0)]},
    "footer hash is no hash": {"add": [add(footer_sha256="abc")]},
    "footer hash is a newline": {"add": [add(footer_sha256="\n")]},
    "partition value is a number": {"add": [add(partition=[1])]},
    "nulls are left out": {"add": [add(stats={"1": {"min": "17"}})]},
    "bound is a number": {"add": [add(stats={"1": {"nulls": 0, "min": 17}})]},
    "bound is very long": {"add": [add(stats={"1": {"nulls": 0, "min": "x" * 2_001}})]},
    "key bound is half a byte": {"add": [add(key_range={"columns": [1], "min": "0"})]},
    "key bound is over 64 bytes": {"add": [add(key_range={"columns": [1], "min": "00" * 65})]},
    "key bound ends in a newline": {"add": [add(key_range={"columns": [1], "min": "00\n"})]},
    "path is very long": {"add": [add(path="c=" + "x" * 9_000 + "/" + DATA)]},
    "vacuum lists a manifest": {"vacuum": {"oldest_readable_version": 1, "deletes": [names.manifest(3)]}},
    "vacuum lists a file outside": {"vacuum": {"oldest_readable_version": 1, "deletes": ["../" + DATA]}},
    "vacuum bound is left out": {"vacuum": {"deletes": []}},
}  # fmt: skip


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_wrong_field_is_refused_though_the_seal_fits(changes: dict[str, Any]) -> None:
    """A value of another type, out of range, or at odds with the rest of the document is damage, named by its file."""
    with pytest.raises(CorruptTableError, match=WHERE) as caught:
        decode(document(**changes))
    assert caught.value.file == WHERE
    assert caught.value.hint
    assert len(str(caught.value)) < 1_000


TABLE_ACTION = json.dumps(table()).encode()

TEXTS: dict[str, bytes] = {
    "no object": b"[1, 2}",
    "NaN": b'{"version": NaN}',
    "Infinity": b'{"version": Infinity}',
    "a comment": b'{"version": /* seven */ 7}',
    "a trailing comma": b'{"version": 7,}',
    "single quotes": b"{'version': 7}",
    "a leading zero": b'{"version": 07}',
    "a bare control character": b'{"version": 7, "x": "\x01"}',
    "many digits": b'{"version": ' + b"9" * 1_000_000 + b"}",
    "many digits in an unknown field": b'{"table": {"new": ' + b"9" * 1_000_000 + b"}}",
    "deep lists": b'{"new": ' + b"[" * 1_000_000 + b"}",
    "deep lists, closed": b'{"new": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"table": ' + b'{"columns": ' * 100_000 + b"}",
    "a deep type": b'{"table": {"columns": [{"id": 1, "name": "a", "type": ' + b'{"list": ' * 100_000 + b"}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_no_such_document_is_refused_though_the_seal_fits(text: bytes) -> None:
    """Bytes that are not strict JSON, or are nested or long beyond reason, are damage; no crash, no hang."""
    with pytest.raises(CorruptTableError, match=WHERE) as caught:
        decode(text)
    assert len(str(caught.value)) < 1_000


INSIDE: dict[str, bytes] = {
    "invalid UTF-8": b'"new": "\xff"',
    "an encoded surrogate": b'"new": "\xed\xa0\x80"',
    "an overlong encoding": b'"new": "\xc0\xaf"',
    "a lone high surrogate": b'"new": "\\ud800 and more"',
    "a lone low surrogate": b'"new": "\\udc00 and more"',
    "invalid UTF-8 in a name": b'"\xff": 1',
    "a wrong escape": b'"new": "\\q"',
    "NaN": b'"new": NaN',
}


@pytest.mark.parametrize("field", INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("place", ["manifest", "operation", "table", "user metadata"])
def test_bad_text_is_refused_in_unknown_fields_too(field: bytes, place: str) -> None:
    """A document is UTF-8 and strict JSON throughout, where nobody looks as well."""
    before = {
        "manifest": b'{"format_version": 1',
        "operation": b'"operation": {"name": "upsert"',
        "table": b'"table": {"format": "parquet"',
        "user metadata": b'"user_metadata": {"run": "17"',
    }[place]
    whole = json.dumps(document()).encode()
    assert whole.count(before) == 1
    with pytest.raises(CorruptTableError, match=WHERE):
        decode(whole.replace(before, before + b", " + field))


@pytest.mark.parametrize(
    "number", [b"1e999", b"-1e999", b"9" * 5_000], ids=["infinite", "minus infinite", "5000 digits"]
)
def test_a_number_that_cannot_be_carried_along_is_refused(number: bytes) -> None:
    """What the table action holds must be fit to be written again."""
    before = b'"table": {"format": "parquet"'
    with pytest.raises(CorruptTableError, match=WHERE):
        decode(json.dumps(document()).encode().replace(before, before + b', "new": ' + number))


@pytest.mark.parametrize(
    "twice",
    [
        b'"version": 8, "version": 7',
        b'"add": [{"path": "/etc/passwd", "rows": 1}], "version": 7',
        b'"table": {"required_features": ["x"]}, "version": 7',
    ],
)
def test_a_field_that_stands_twice_is_never_half_believed(twice: bytes) -> None:
    """Of a field that is there twice either the last one counts, checked like any, or the document is refused."""
    try:
        found = decode(json.dumps(document()).encode().replace(b'"version": 7', twice, 1))
    except CorruptTableError:
        return
    assert found == decode(document())


@pytest.mark.parametrize(
    "path", ["/etc/passwd", f"../{DATA}", f"a/{DATA}", DATA.replace(TABLE_ID, "0" * 16), "x.parquet"]
)
@pytest.mark.parametrize("action", ["add", "remove"])
def test_a_path_outside_the_grammar_is_refused(action: str, path: str) -> None:
    """No manifest adds anything but a data file of its own table, or names what is outside its folder.

    What it removes may be an adopted file: replay refuses it unless it is live.
    """
    if action == "remove" and names.is_adopted_path(path):
        assert decode(document(remove=[{"path": path}])).remove[0].path == path
        return
    with pytest.raises(CorruptTableError, match="not a data file of this table"):
        decode(document(**{action: [add(path=path) if action == "add" else {"path": path}]}))
    side = json.dumps({action: [add(path=path) if action == "add" else {"path": path}]}).encode()
    with pytest.raises(CorruptTableError, match="not a data file of this table"):
        codec.decode_actions(side, table_id=TABLE_ID, where=WHERE)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"add": 1}', b'{"deletes": ["../x"]}', b"[" * 100_000, b'{"add": ["\xff"]}']
)
def test_a_hostile_sidecar_is_refused(data: bytes) -> None:
    """A sidecar is read as strictly as a manifest, though its hash fits."""
    with pytest.raises(CorruptTableError, match=WHERE):
        codec.decode_actions(data, table_id=TABLE_ID, where=WHERE)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"table": table(required_features=["deletion-vectors"])}, "deletion-vectors"),
        ({"table": table(format="orc")}, "orc"),
        ({"format_version": 2}, "format version 2"),
        ({"format_version": 2, "table": table(required_features=["x"])}, "format version 2"),
        ({"format_version": 99, "add": "somewhere else", "version": {"seven": 7}}, "format version 99"),
        ({"format_version": 0}, "format version 0"),
    ],
)
def test_what_a_later_release_needs_is_told_from_damage(changes: dict[str, Any], said: str) -> None:
    """An unknown required feature or a later format is no damage; the message names it and the hint is to upgrade."""
    with pytest.raises(UnsupportedTableError, match=said) as caught:
        decode(document(**changes))
    assert caught.value.hint == "upgrade txfiles"


def test_version_0_says_what_the_table_is() -> None:
    """A first version without a table action is damage."""
    body = json.dumps(document(version=0, table=..., checkpoint=...)).encode()
    with pytest.raises(CorruptTableError, match="what the table is"):
        codec.decode(seal(body), version=0, where=WHERE)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x),
        max_leaves=5,
    ),
    st.sampled_from([*document(), "operation.name", "table.columns", "add.0.path", "vacuum.deletes"]),
)
def test_any_value_in_any_place_is_accepted_or_a_table_error(value: Any, place: str) -> None:
    """Whatever JSON stands in a field, decoding ends in a manifest or in an error of txfiles."""
    found: Any = document()
    *way, last = place.split(".")
    at = found
    for step in way:
        at = at[int(step) if step.isdigit() else step]
    at[last] = value
    try:
        again = decode(found)
    except (CorruptTableError, UnsupportedTableError):
        return
    assert codec.decode(codec.encode(again), version=7, where=WHERE) == again


def test_no_manifest_is_written_that_nobody_would_read() -> None:
    """What would exceed a reader's limit is an error before it is committed."""
    manifest = decode(document())
    grown = {"note": "x" * codec.MANIFEST_LIMIT_BYTES}
    operation = msgspec.structs.replace(manifest.operation, user_metadata=grown)
    with pytest.raises(InputError, match="readers accept at most"):
        codec.encode(msgspec.structs.replace(manifest, operation=operation))
