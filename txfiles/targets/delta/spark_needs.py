"""What a Spark session must have to write Delta tables, and what to say if it has not.

Source: specs/9-targets.md, "Delta from Spark".
"""

from __future__ import annotations

import re
from typing import Any

from txfiles.errors import EngineError

_FITS = {
    "4.0": "io.delta:delta-spark_4.0_2.13:4.3.1",
    "4.1": "io.delta:delta-spark_4.1_2.13:4.3.1",
    "4.2": "io.delta:delta-spark_4.2_2.13:4.4.0",
}
"""For each release of Spark, the package that fits."""

_MISSING = re.compile(
    "DATA_SOURCE_NOT_FOUND|UNSUPPORTED_DATASOURCE_FOR_DIRECT_QUERY|Failed to find (the )?data source"
    "|NoClassDefFoundError|NoSuchMethodError|ClassNotFoundException"
)
_EXTENSION = "io.delta.sql.DeltaSparkSessionExtension"
_CATALOG = "org.apache.spark.sql.delta.catalog.DeltaCatalog"


def require_delta(spark: Any) -> None:
    """Refuse a session that cannot write Delta tables, before anything is computed.

    Raises:
        EngineError: says what fits its version.
    """
    if type(spark).__module__.startswith("pyspark.sql.connect."):
        raise EngineError(
            "Delta tables are not written through Spark Connect, whose client has one session; nothing was written",
            hint="use a classic session, or write parquet or csv",
        )
    try:
        spark.sql("SELECT * FROM delta.`file:///` WHERE false")
    except Exception as error:
        said = str(error)
        if _MISSING.search(said):
            raise EngineError(
                f"this Spark session (version {spark.version}) has no Delta Lake that fits it; nothing was written",
                hint=_advice(spark.version),
            ) from error
    configured = spark.conf.get("spark.sql.extensions", "") or ""
    if "Delta" not in configured:
        raise EngineError(
            "this Spark session does not have Delta's extension; nothing was written",
            hint=f"start it with spark.sql.extensions={_EXTENSION} and spark.sql.catalog.spark_catalog={_CATALOG}",
        )


def _advice(version: str) -> str:
    found = _FITS.get(".".join(version.split(".")[:2]))
    if found is None:
        known = ", ".join(_FITS)
        return f"no release of Delta is known to fit Spark {version}; it has some for {known}"
    return (
        f"start the session with spark.jars.packages={found}, spark.sql.extensions={_EXTENSION} and "
        f"spark.sql.catalog.spark_catalog={_CATALOG}"
    )
