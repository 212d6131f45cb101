"""Other libraries' names for what txfiles has, so that an error can suggest the nearest meaning, not just spelling.

pandas, polars, pyarrow, Spark, Delta, dlt and dbt have other names for the same choices. If a caller uses one of
theirs, the error names ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from txfiles.core.messages import nearest

WORDS: dict[str, dict[str, str]] = {
    "mode": {
        **dict.fromkeys(("merge", "update", "update_insert", "insert_update", "delete_insert", "scd1"), "upsert"),
        **dict.fromkeys(("incremental", "insert_or_update", "insert_or_replace"), "upsert"),
        **dict.fromkeys(
            ("replace", "truncate", "truncate_insert", "insert_overwrite", "create_or_replace"), "overwrite"
        ),
        **dict.fromkeys(("complete", "full", "full_refresh", "w"), "overwrite"),
        **dict.fromkeys(("insert", "add", "a"), "append"),
        **dict.fromkeys(("insert_ignore", "insert_or_ignore", "ignore", "skip", "insert_new"), "append_once"),
    },
    "format": {"pq": "parquet", "parq": "parquet", "tsv": "csv"},
    "dedup_strategy": {
        **dict.fromkeys(("first", "keep_first"), "first_wins"),
        **dict.fromkeys(("last", "keep_last"), "last_wins"),
        **dict.fromkeys(("newest", "latest", "max", "keep_newest"), "newest_wins"),
        **dict.fromkeys(("fail", "raise", "strict", "none", "false"), "error"),
    },
    "schema_mode": {
        **dict.fromkeys(("evolve", "union", "add_columns", "append_new_columns", "append", "relaxed"), "merge"),
        **dict.fromkeys(("replace", "any"), "overwrite"),
        **dict.fromkeys(("error", "fail", "freeze", "exact", "none"), "strict"),
    },
    "operator": {
        **dict.fromkeys(("<>", "ne", "neq", "not", "is_not", "not_equal", "=!", "!==", "~=", "≠"), "!="),
        **dict.fromkeys(("eq", "equal", "equals", "is", "===", ":="), "="),
        **dict.fromkeys(("lt", "less", "before"), "<"),
        **dict.fromkeys(("le", "lte", "=<", "≤", "!>"), "<="),
        **dict.fromkeys(("gt", "greater", "after"), ">"),
        **dict.fromkeys(("ge", "gte", "=>", "≥", "!<"), ">="),
        **dict.fromkeys(("isin", "is_in", "one_of", "any", "∈"), "in"),
        **dict.fromkeys(("notin", "nin", "is_not_in", "not_isin", "!in", "∉"), "not in"),
        **dict.fromkeys(("isnull", "isna", "is_na", "null", "is_none"), "is null"),
        **dict.fromkeys(
            ("notnull", "notna", "isnotnull", "not_null", "is_not_na", "is_valid", "exists"), "is not null"
        ),
    },
    "stale": {
        **dict.fromkeys(("ignore", "drop", "keep", "error"), "skip"),
        **dict.fromkeys(("overwrite", "update", "replace", "accept"), "apply"),
    },
}
"""For each option with a fixed set of values: a foreign value (lower case, with `_`) and ours."""

OPTIONS: dict[str, str] = {
    **dict.fromkeys(
        ("partition_cols", "partition_on", "partitioncols", "partitionby", "partition_columns"), "partition_by"
    ),
    **dict.fromkeys(("partitions", "partitioning", "partition_keys", "partition_key", "partition"), "partition_by"),
    **dict.fromkeys(("on", "key", "merge_keys", "merge_key", "primary_key", "primary_keys", "unique_key"), "keys"),
    **dict.fromkeys(("id_cols", "key_columns", "key_cols", "key_column", "join_cols", "merge_on", "by"), "keys"),
    **dict.fromkeys(("if_exists", "save_mode", "savemode", "write_disposition", "write_mode", "strategy"), "mode"),
    **dict.fromkeys(("file_format", "fmt", "filetype", "file_type", "type"), "format"),
    **dict.fromkeys(("merge_schema", "mergeschema", "schema_evolution", "overwrite_schema"), "schema_mode"),
    **dict.fromkeys(("dtype", "dtypes", "schema_overrides", "column_types", "types"), "schema"),
    **dict.fromkeys(
        ("sep", "delimiter", "delim", "separator", "encoding", "decimal", "na_values", "null_values"), "csv"
    ),
    **dict.fromkeys(("nullstr", "header", "has_header", "names", "quotechar", "quote_char", "index_col"), "csv"),
    **dict.fromkeys(("dedup_sort", "order_by", "updated_at", "sequence_by", "cursor", "cursor_field"), "timestamp_col"),
    **dict.fromkeys(("timestamp_column", "time_col", "version_col"), "timestamp_col"),
    **dict.fromkeys(("dedup", "deduplicate", "drop_duplicates", "duplicates"), "dedup_strategy"),
    **dict.fromkeys(("txn_id", "idempotency_key", "load_id", "batch", "app_id"), "batch_id"),
    **dict.fromkeys(("metadata", "commit_metadata", "commit_properties", "custom_metadata", "tags"), "user_metadata"),
    **dict.fromkeys(("configuration", "table_properties", "tblproperties", "config"), "properties"),
    **dict.fromkeys(("compression", "target_file_size", "row_group_size", "max_rows_per_file"), "properties"),
    **dict.fromkeys(("partition_filters", "predicate", "filters", "filter", "where"), "replace_where"),
    **dict.fromkeys(("overwrite_partition", "partition_overwrite", "dynamic_partitions"), "overwrite_partitions"),
    **dict.fromkeys(("filesystem", "fs", "credentials"), "storage_options"),
    **dict.fromkeys(("callback", "on_progress"), "progress"),
}
"""A foreign name of an option of `write` (lower case) and ours."""

READING: dict[str, str] = {
    **dict.fromkeys(("filters", "where", "predicate", "expression", "row_filter", "condition", "query"), "filter"),
    **dict.fromkeys(("usecols", "column", "cols", "select", "fields", "selected_fields", "projection"), "columns"),
    **dict.fromkeys(("version_as_of", "versionasof", "snapshot_id", "snapshot", "at"), "version"),
    **dict.fromkeys(("timestamp_as_of", "timestampasof", "as_of", "asof", "time", "datetime"), "timestamp"),
    **dict.fromkeys(("dtypes", "dtype", "use_nullable_dtypes", "types_mapper"), "dtype_backend"),
    **dict.fromkeys(("retention_hours", "retention", "older_than", "retain_days"), "retain"),
    **dict.fromkeys(("target_size", "target_file_size", "max_file_size", "file_size"), "target_file_bytes"),
    **dict.fromkeys(("sort_by", "sort_order", "zorder_by", "z_order"), "sort"),
    **dict.fromkeys(("keep", "retain_last", "min_snapshots_to_keep"), "keep_versions"),
    **dict.fromkeys(("n", "last", "max", "head"), "limit"),
    **dict.fromkeys(("key", "on", "ids", "values"), "keys"),
    **dict.fromkeys(("filesystem", "fs", "credentials"), "storage_options"),
}
"""A foreign name of an argument of a call that reads or maintains, and ours."""

DELETING: dict[str, str] = dict.fromkeys(
    ("filter", "filters", "predicate", "condition", "expression", "row_filter", "query", "replace_where"), "where"
)
"""A foreign name of an argument of a delete, and ours."""

NOT_NEEDED: dict[str, str] = {
    **dict.fromkeys(
        ("index", "index_label", "preserve_index"), "a pandas index is not written; df.reset_index() makes it columns"
    ),
    **dict.fromkeys(("engine", "use_pyarrow", "use_threads", "n_jobs"), "leave it out: there is nothing to choose"),
    **dict.fromkeys(("storage", "table", "path_or_buf"), "the table's folder is the second argument, `path`"),
    **dict.fromkeys(("dry_run", "explain"), "txfiles.plan takes the same arguments and writes nothing"),
}
"""A foreign name for something txfiles does not have, and what to do instead."""


def meant(option: str, given: str, valid: Iterable[str]) -> str:
    """`` (did you mean 'upsert'?)``: by meaning, otherwise by spelling; empty if neither helps."""
    word = _normal(given)
    ours = WORDS.get(option, {}).get(word)
    return f" (did you mean {ours!r}?)" if ours else nearest(word, valid)


def option_meant(given: str, valid: Iterable[str]) -> str | None:
    """Which of the valid option names a foreign one stands for; None if no meaning is known."""
    names = set(valid)
    word = _normal(given)
    found = (table.get(word) for table in (READING, DELETING, OPTIONS))
    return next((ours for ours in found if ours in names), None)


def instead(given: str) -> str | None:
    """What to do instead of passing an option that txfiles does not have."""
    return NOT_NEEDED.get(_normal(given))


def _normal(given: str) -> str:
    word = given.strip().lower()
    for mark in "-+ ":
        word = word.replace(mark, "_")
    return word
