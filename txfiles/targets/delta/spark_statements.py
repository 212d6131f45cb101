"""The statements of the keyed modes, as text: what becomes of each row, how many have each fate, and the `MERGE`.

A statement that commits decides again, on the version that its own transaction reads: a `MERGE` takes its rows from a
query of the table itself. So it is right whatever was committed since the rows were counted, and Delta sees what it has
relied on. Only rows that change are in it, so that no other file is rewritten.

Source: specs/9-targets.md, "Delta from Spark"; specs/4-semantics.md, "Upsert".
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from txfiles.batch import Prepared
from txfiles.rows import types
from txfiles.spark.types import quoted
from txfiles.targets.delta.spark_rows import Rows
from txfiles.targets.delta.spark_text import comparable, filled, text, time, type_name

INSERTED, UPDATED, UNCHANGED, STALE, DOUBLED = "inserted", "updated", "unchanged", "stale", "doubled"
"""Fates of a batch's row. Doubled: its key was there more than once; all these rows go, and it is inserted."""

REMOVES = "removes"
"""What a `MERGE` does with a row beside the fates: it removes what has its key."""


@dataclass(frozen=True)
class Statements:
    """The statements of one write.

    Attributes:
        place: the table, as statements name it.
        rows: the batch.
        batch: what is known of it without its rows.
        stored: the table's columns before the write.
        skip_stale: whether rows that are older than the table's are skipped.
    """

    place: str
    rows: Rows
    batch: Prepared
    stored: pa.Schema
    skip_stale: bool

    @property
    def schema(self) -> pa.Schema:
        """The columns after the write."""
        return types.arrow_schema(self.batch.table.columns)

    def at(self, version: int) -> str:
        """The table at a version, as the source of a query."""
        return f"(SELECT * FROM {self.place} VERSION AS OF {version})"

    # ---- append_once

    def unknown_rows(self, source: str) -> str:
        """How many rows have a key that a version has not."""
        return f"SELECT count(*) AS rows_inserted FROM {self.rows.view} s LEFT ANTI JOIN {source} t ON {self._keys()}"

    def insert_unknown(self) -> str:
        """Insert these rows."""
        names = self.schema.names
        return (
            f"MERGE INTO {self.place} AS t USING {self.rows.view} AS s ON {self._keys()} AND {self.rows.within('t')} "
            f"WHEN NOT MATCHED THEN INSERT ({_listed(names)}) VALUES ({_listed(names, 's')})"
        )

    # ---- upsert

    def counts(self, source: str) -> str:
        """How many rows of each fate there are, decided on a version."""
        fates = {
            "rows_inserted": f"'{INSERTED}'",
            "rows_updated": f"'{UPDATED}'",
            "rows_unchanged": f"'{UNCHANGED}'",
            "rows_stale": f"'{STALE}'",
        }
        sums = [f"count_if(fate = {fate}) AS {name}" for name, fate in fates.items()]
        sums[1:3] = [
            f"count_if(fate = '{UPDATED}' OR (fate = '{DOUBLED}' AND differs)) AS rows_updated",
            f"count_if(fate = '{UNCHANGED}' OR (fate = '{DOUBLED}' AND NOT differs)) AS rows_unchanged",
        ]
        sums.append(f"sum(IF(fate = '{DOUBLED}', hits - 1, 0)) AS rows_deleted")
        return f"SELECT {', '.join(sums)} FROM ({self._fates(source)})"

    def merge(self) -> str:
        """Replace, remove and insert rows as their fates say."""
        names, values = self.schema.names, [f"s.m{number}" for number in range(len(self.schema))]
        keys = [f"t.{quoted(key)} = s.m{self.schema.get_field_index(key)}" for key in self.batch.table.keys]
        steps = f"explode(IF(fate = '{DOUBLED}', array('{REMOVES}', '{INSERTED}'), array(fate))) AS step"
        changing = f"fate IN ('{INSERTED}', '{UPDATED}', '{DOUBLED}')"
        updates = ", ".join(f"t.{quoted(name)} = {value}" for name, value in zip(names, values, strict=True))
        return (
            f"MERGE INTO {self.place} AS t "
            f"USING (SELECT *, {steps} FROM ({self._fates(self.place)}) WHERE {changing}) AS s "
            f"ON {' AND '.join(keys)} AND s.step <> '{INSERTED}' AND {self.rows.within('t')} "
            f"WHEN MATCHED AND s.step = '{REMOVES}' THEN DELETE "
            f"WHEN MATCHED THEN UPDATE SET {updates} "
            f"WHEN NOT MATCHED AND s.step = '{INSERTED}' THEN INSERT ({_listed(names)}) VALUES ({', '.join(values)})"
        )

    def _keys(self) -> str:
        return " AND ".join(f"t.{quoted(key)} = s.{quoted(key)}" for key in self.batch.table.keys)

    def _fates(self, source: str) -> str:
        """Each row of the batch as it will stand in the table (`m0`, `m1`, …), its fate, and how many rows it hits."""
        hits = (
            f"SELECT {', '.join(self._pairs())} FROM {self.rows.view} s LEFT JOIN {source} t "
            f"ON {self._keys()} AND {self.rows.within('t')}"
        )
        merged = ", ".join(f"{self._merged(number)} AS m{number}" for number in range(len(self.schema)))
        told = f"SELECT *, {merged}, {self._stale()} AS stale FROM ({hits}) WHERE place = 1"
        compared = f"SELECT *, {self._differs()} AS differs FROM ({told})"
        fate = (
            f"CASE WHEN NOT hit THEN '{INSERTED}' WHEN stale THEN '{STALE}' WHEN hits > 1 THEN '{DOUBLED}' "
            f"WHEN differs THEN '{UPDATED}' ELSE '{UNCHANGED}' END"
        )
        return f"SELECT *, {fate} AS fate FROM ({compared})"

    def _pairs(self) -> list[str]:
        """A batch's row (`c0`, …) beside the newest that it hits (`o0`, …), of equally new ones the greatest."""
        found, schema = [], self.schema
        for number, one in enumerate(schema):
            stored = (
                f"t.{quoted(one.name)}" if one.name in self.stored.names else f"CAST(NULL AS {type_name(one.type)})"
            )
            found += [f"s.{quoted(one.name)} AS c{number}", f"{stored} AS o{number}"]
        keys = self.batch.table.keys
        of_key = f"OVER (PARTITION BY {_listed(keys, 's')}"
        known = [one for one in schema if one.name in self.stored.names]
        order = [f"{comparable(f't.{quoted(one.name)}', one.type)} DESC NULLS FIRST" for one in known]
        when = self.batch.table.timestamp_col
        if when is not None and when in self.stored.names:
            order.insert(0, f"{time(f't.{quoted(when)}', schema.field(when).type)} DESC NULLS LAST")
        found.append(f"t.{quoted(keys[0])} IS NOT NULL AS hit")
        found.append(f"count(t.{quoted(keys[0])}) {of_key}) AS hits")
        found.append(f"row_number() {of_key} ORDER BY {', '.join(order)}) AS place")
        return found

    def _merged(self, number: int) -> str:
        one, given, stored = self.schema.field(number), f"c{number}", f"o{number}"
        if one.name in self.batch.missing:
            return stored
        paths = [path[1:] for path in self.batch.missing_fields if path[0] == one.name and None not in path]
        return f"IF(hit, {filled(given, stored, one.type, paths)}, {given})" if paths else given

    def _stale(self) -> str:
        when = self.batch.table.timestamp_col
        if when is None or not self.skip_stale or when in self.batch.missing or when not in self.stored.names:
            return "false"
        number = self.schema.get_field_index(when)
        mine, theirs = (time(f"{side}{number}", self.schema.field(number).type) for side in "co")
        return f"(hit AND {theirs} IS NOT NULL AND ({mine} IS NULL OR {mine} < {theirs}))"

    def _differs(self) -> str:
        compared = [
            f"{comparable(f'm{number}', one.type)} <=> {comparable(f'o{number}', one.type)}"
            for number, one in enumerate(self.schema)
            if one.name not in self.batch.table.keys and one.name not in self.batch.missing
        ]
        return f"NOT ({' AND '.join(compared) or 'true'})"

    # ---- overwrites of a part

    def staying(self, source: str, where: str | None) -> str:
        """The rows that an overwrite of partitions, or of the rows that match a condition, lets stay."""
        if where is not None:
            return f"(SELECT * FROM {source} WHERE NOT coalesce({where}, false))"
        return f"(SELECT * FROM {source} o LEFT ANTI JOIN {self.rows.view} s ON {self._partition()})"

    def replaced(self, source: str, where: str | None) -> str:
        """How many rows it removes."""
        if where is not None:
            return f"SELECT count(*) AS rows_deleted FROM {source} WHERE {where}"
        return (
            f"SELECT count(*) AS rows_deleted FROM {source} o LEFT SEMI JOIN {self.rows.view} s ON {self._partition()}"
        )

    def meeting(self, staying: str) -> str:
        """The rows of the batch whose keys are in rows that stay."""
        return f"SELECT s.* FROM {self.rows.view} s LEFT SEMI JOIN {staying} t ON {self._keys()}"

    def repeats(self, staying: str) -> str:
        """How many rows that stay lack a key, and how many have one that another has."""
        keys = self.batch.table.keys
        lacks = " OR ".join(f"{quoted(key)} IS NULL" for key in keys)
        return (
            f"SELECT count_if({lacks}) AS nulls, count(*) - count(DISTINCT {_listed(keys)}) - count_if({lacks}) "
            f"AS repeats FROM {staying}"
        )

    def guarded(self, where: str | None, *, whole: bool) -> str:
        """The batch's rows, with an error in their place if its keys are not unique in the resulting table."""
        staying = self.staying(self.place, where)
        counts = [f"(SELECT count(*) FROM ({self.meeting(staying)}))"]
        if whole:
            counts.append(f"(SELECT nulls + repeats FROM ({self.repeats(staying)}))")
        guard = f"SELECT IF({' + '.join(counts)} > 0, raise_error({text(CHANGED)}), true) AS holds"
        return f"SELECT s.* FROM {self.rows.view} s CROSS JOIN ({guard}) g WHERE g.holds"

    def _partition(self) -> str:
        return " AND ".join(f"o.{quoted(name)} <=> s.{quoted(name)}" for name in self.batch.table.partition_by)


CHANGED = "txfiles: the keys that stay have changed"
"""What a guard raises: the write is planned anew, and then says what is wrong."""


def _listed(names: list[str] | tuple[str, ...], of: str | None = None) -> str:
    return ", ".join(f"{of}.{quoted(name)}" if of else quoted(name) for name in names)
