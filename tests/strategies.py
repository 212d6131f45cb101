"""Hypothesis strategies for what the log holds."""

from __future__ import annotations

from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from txfiles.core import names, times
from txfiles.core.csv_dialect import CSV_DIALECT, CsvColumn, CsvDialect
from txfiles.core.manifest import (
    Actions,
    Add,
    CheckpointRef,
    ColumnStats,
    IndexAction,
    KeyRange,
    Manifest,
    Mark,
    Metrics,
    Operation,
    Remove,
    RunKey,
    RunRef,
    SidecarRef,
    TableMetadata,
    Vacuum,
    Vector,
)
from txfiles.core.schema import Column

TABLE_ID = "1f0c9c3a5b7d2e46"

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
words = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=12)
counts = st.integers(0, 2**62)


def digits(length: int) -> st.SearchStrategy[str]:
    """Lower-case hex of one length."""
    return st.text("0123456789abcdef", min_size=length, max_size=length)


hashes = digits(64)
ids = digits(32)
key_bounds = st.binary(max_size=64).map(bytes.hex)

specs: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(["null", "int32", "string", "timestamp[us, UTC]", "decimal128(10, 2)", "fixed_size_binary[16]"]),
    lambda inner: st.one_of(
        inner.map(lambda spec: {"list": spec}),
        st.tuples(inner, inner).map(lambda pair: {"map": list(pair)}),
        st.lists(inner, max_size=3).map(
            lambda found: {"struct": [{"name": f"f{number}", "type": spec} for number, spec in enumerate(found)]}
        ),
    ),
    max_leaves=4,
)

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        texts,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=5,
)

property_values = st.one_of(
    texts, st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)

partition_values = st.one_of(st.none(), texts)


@st.composite
def data_names(draw: st.DrawFn, table_id: str = TABLE_ID) -> str:
    """Names of data files as this library gives them, in up to two partition folders."""
    folders = draw(st.lists(st.builds(names.partition_folder, words, partition_values), max_size=2))
    number = draw(st.integers(0, 10**9 - 1))
    return "/".join([*folders, names.data_file(table_id, draw(ids), number, draw(st.sampled_from(["parquet", "csv"])))])


data_paths = data_names().map(names.encode_path)

deletable_paths = st.one_of(
    data_paths,
    st.builds(names.checkpoint, st.integers(0, 10**20 - 1), ids),
    st.builds(
        lambda unique, number: names.VECTOR_DIR + names.vectors(TABLE_ID, unique, number), ids, st.integers(0, 9)
    ),
    st.builds(names.index_run, st.just(TABLE_ID), ids, st.integers(0, 10**9 - 1)),
    st.builds(lambda version, unique: names.SIDECAR_DIR + names.sidecar(version, unique), st.integers(0, 9), ids),
    ids.map(lambda unique: f"_txfiles/log/.tmp-{unique}"),
)

vectors = st.builds(
    Vector,
    file=st.builds(names.vectors, st.just(TABLE_ID), ids, st.integers(0, 10**9 - 1)),
    offset=counts,
    bytes=counts,
    sha256=hashes,
    rows=st.integers(1, 2**62),
)

stats = st.builds(ColumnStats, nulls=counts, min=st.none() | texts, max=st.none() | texts, exact=st.booleans())

adds = st.builds(
    Add,
    path=data_paths,
    rows=counts,
    bytes=counts,
    sha256=hashes,
    vector=st.none() | vectors,
    modified_us=st.none() | st.integers(-(2**62), 2**62),
    footer_bytes=counts,
    footer_sha256=st.just("") | hashes,
    partition=st.lists(partition_values, max_size=2).map(tuple),
    stats=st.dictionaries(st.integers(1, 9).map(str), stats, max_size=2),
    columns=st.none() | st.lists(st.integers(1, 9), unique=True, max_size=3).map(tuple),
    key_range=st.none()
    | st.builds(
        KeyRange,
        columns=st.lists(st.integers(1, 9), max_size=2).map(tuple),
        min=key_bounds,
        max=st.none() | key_bounds,
        exact=st.booleans(),
    ),
)

adds = adds.filter(lambda add: add.vector is None or add.vector.rows < add.rows)
add_lists = st.lists(adds, max_size=3, unique_by=lambda add: add.path).map(tuple)
mark_lists = st.lists(
    st.builds(Mark, path=data_paths, vector=vectors), max_size=2, unique_by=lambda mark: mark.path
).map(tuple)
remove_lists = st.lists(data_paths, max_size=3, unique=True).map(lambda paths: tuple(Remove(path=p) for p in paths))


run_names = st.builds(names.index_run, st.just(TABLE_ID), ids, st.integers(0, 10**9 - 1)).map(
    lambda name: name.removeprefix(names.INDEX_DIR)
)

run_keys = st.builds(
    RunKey,
    columns=st.lists(counts, max_size=2).map(tuple),
    kinds=st.lists(words, max_size=2).map(tuple),
    code=counts,
    secret=ids,
)

runs = st.builds(
    RunRef,
    name=run_names,
    run=ids,
    bytes=counts,
    entries=counts,
    files=counts,
    footer_bytes=counts,
    footer_sha256=hashes,
    key=run_keys,
)

index_actions = st.lists(
    st.builds(IndexAction, add=runs) | st.builds(IndexAction, remove=run_names),
    max_size=3,
    unique_by=lambda action: action.remove if action.add is None else action.add.name,
).map(tuple)


def dialects(columns: int) -> st.SearchStrategy[CsvDialect]:
    """What may be recorded of the adopted files of the table `TABLE_ID`."""
    nulls = st.lists(texts, max_size=2).map(tuple)
    column = st.builds(
        CsvColumn, id=st.integers(1, max(1, columns)), type=st.sampled_from(["int64", "string"]), nulls=nulls
    )
    return st.builds(
        CsvDialect,
        table_id=st.just(TABLE_ID),
        columns=st.lists(column, max_size=columns, unique_by=lambda one: one.id).map(tuple),
        sep=st.sampled_from([None, ",", ";", "\t", "|"]),
        encoding=st.sampled_from(["utf-8", "cp1252", "utf-16"]),
        decimal=st.sampled_from([".", ","]),
        na_values=nulls,
        header=st.booleans(),
        quotechar=st.sampled_from(['"', "'"]),
    )


@st.composite
def tables(draw: st.DrawFn) -> TableMetadata:
    """Table actions that agree with themselves."""
    titles = draw(st.lists(words, max_size=4, unique=True))
    columns = [Column(id=number, name=name, type=draw(specs)) for number, name in enumerate(titles, 1)]
    flat = [column.name for column in columns if isinstance(column.type, str)]
    some = st.lists(st.sampled_from(flat), unique=True).map(tuple) if flat else st.just(())
    form = draw(st.sampled_from(["parquet", "csv"]))
    dialect = draw(st.none() | dialects(len(columns))) if form == "csv" else None
    return TableMetadata(
        format=form,
        columns=tuple(columns),
        last_column_id=draw(st.integers(len(columns), 2**62)),
        partition_by=draw(some),
        keys=draw(some),
        timestamp_col=draw(st.sampled_from([None, *flat])),
        properties=draw(st.dictionaries(texts, property_values, max_size=2)),
        required_features=(CSV_DIALECT,) if dialect else (),
        csv_dialect=dialect,
        extra=draw(
            st.dictionaries(
                words.filter(lambda word: word not in TableMetadata.__struct_fields__), json_values, max_size=2
            )
        ),
    )


operations = st.builds(
    Operation,
    name=words,
    read_version=st.none() | counts,
    keys=st.lists(texts, max_size=2).map(tuple),
    batch_id=st.none() | texts,
    scope=st.none() | st.sampled_from(["table", "partitions", "filter"]),
    library=texts,
    writer=texts,
    user_metadata=st.dictionaries(texts, texts, max_size=2),
)

metrics = st.builds(Metrics, **dict.fromkeys(Metrics.__struct_fields__, counts))

all_times = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999).map(times.format_us)


def disjoint(found: Manifest | Actions) -> bool:
    """Whether no file is marked that is added or removed."""
    others = {add.path for add in found.add} | {action.path for action in found.remove}
    return others.isdisjoint(mark.path for mark in found.mark)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Any manifest that a writer may commit."""
    version = draw(st.integers(0, 10**19) | st.integers(0, 2))
    version = min(version, 2**62)
    sidecar = draw(
        st.none()
        | st.builds(
            SidecarRef, name=ids.map(lambda unique: names.sidecar(version, unique)), bytes=counts, sha256=hashes
        )
    )
    inline = sidecar is None
    found = Manifest(
        format_version=1,
        version=version,
        table_id=TABLE_ID,
        commit_id=draw(ids),
        parent_sha256=draw(st.none() | hashes),
        time=draw(all_times),
        operation=draw(operations),
        metrics=draw(metrics),
        table=draw(tables() if version == 0 else st.none() | tables()),
        checkpoint=draw(
            st.none()
            | st.builds(CheckpointRef, version=st.integers(0, version - 1), id=ids, bytes=counts, sha256=hashes)
        )
        if version
        else None,
        vacuum=draw(
            st.none()
            | st.builds(
                Vacuum,
                oldest_readable_version=counts,
                deletes=st.lists(deletable_paths, max_size=2 if inline else 0).map(tuple),
            )
        ),
        add=draw(add_lists) if inline else (),
        remove=draw(remove_lists) if inline else (),
        mark=draw(mark_lists) if inline else (),
        index=draw(index_actions),
        sidecar=sidecar,
    )
    assume(disjoint(found))
    return found


actions = st.builds(
    Actions,
    add=add_lists,
    remove=remove_lists,
    mark=mark_lists,
    deletes=st.lists(deletable_paths, max_size=2).map(tuple),
).filter(disjoint)
