"""A real Spark for the tests, in a JVM of its own on this machine, with Delta's jars from Maven Central.

pyspark brings Spark, and `tools/test` installs a Java. The jars are fetched once, below `.services/ivy` of the
checkout. A session takes 15 seconds or more to start, and over a gigabyte of memory, so a run of the tests has one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from tests.services.servers import INSTALLED, Unavailable

DELTA = "io.delta:delta-spark_4.2_2.13:4.4.0"
"""The only release of Delta for Spark 4.2."""
ROOT = Path(__file__).parents[2]
END_SECONDS = 20.0


def start(folder: Path, settings: Mapping[str, str] = MappingProxyType({})) -> Any:
    """Start a Spark session, which `stop` ends.

    Args:
        folder: an empty one for its log, its scratch space and its warehouse.
        settings: before those of the tests.

    Raises:
        Unavailable: there is no Java, or the jars cannot be had.
    """
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise Unavailable("Java is not installed (Debian: apt-get install default-jre-headless)")
    try:
        from pyspark import SparkConf, SparkContext
        from pyspark.errors import PySparkRuntimeError
        from pyspark.java_gateway import launch_gateway
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise Unavailable(f"{error} (pip install -e '.[dev]')") from error

    INSTALLED.mkdir(exist_ok=True)
    conf = SparkConf(loadDefaults=False).setAll(list((dict(_settings(folder)) | dict(settings)).items()))
    said = folder / "spark.log"
    with said.open("wb") as log, (INSTALLED / "ivy.lock").open("w") as lock, warnings.catch_warnings():
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that fetch the same jars spoil each other's
        warnings.simplefilter("ignore")  # of pandas 3, and of forks beside threads
        try:
            with mock.patch.dict(os.environ, environment(), clear=True):
                gateway = launch_gateway(conf, {"stdout": log, "stderr": log})
                session = SparkSession(SparkContext(conf=conf, gateway=gateway))
        except PySparkRuntimeError as error:
            raise Unavailable(f"{error}: {said.read_text(errors='replace')[-1_000:]}") from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def stop(session: Any) -> None:
    """End the session and its JVM."""
    from pyspark import SparkContext

    gateway = session.sparkContext._gateway
    session.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()  # the JVM leaves when nobody can talk to it
    try:
        gateway.proc.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        gateway.proc.kill()
        gateway.proc.wait()
    SparkContext._gateway = SparkContext._jvm = None


def _settings(folder: Path) -> Mapping[str, str]:
    return {
        "spark.master": "local[2]",
        "spark.app.name": "txfiles tests",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "1g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.local.dir": f"{folder}/scratch",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": f"{folder}/warehouse",
        "spark.jars.packages": DELTA,
        "spark.jars.ivy": str(INSTALLED.resolve() / "ivy"),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "2",  # 50 tasks for each snapshot of a small table by default
    }


def environment() -> dict[str, str]:
    """That of the JVM and of its Python workers: this Python, this checkout, and no settings of another Spark."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SPARK_", "PYSPARK_"))}
    paths = [str(ROOT), *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYSPARK_PYTHON": sys.executable,  # else the workers take whatever python3 is on the path
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
