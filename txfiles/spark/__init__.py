"""The operations of files tables for rows that are in Spark: the same plans, made by tasks on its executors.

The driver keeps the log, the list of files and the commit; rows never come to it. A Spark job here is always the same
thing: a function over the rows of a frame, or over a list of work, that returns small facts (`spark.jobs`).

    stage      the frame's rows as they are, sorted by key, in files that no version names   `staged`
    plan       for each range of keys what a local operation would do, by that very code     `tasks.plan_part`
    carry out  for each data file the changes that all ranges have for it                    `tasks.carry_out`
    commit     by the driver: one plan, as of any other call                                 `operations`

A keyed write stages the frame once per call: a lost race plans again from there, and never computes the frame anew. No
module of this package imports pyspark: a frame brings what is needed of it.

Source: specs/12-spark.md.
"""

from __future__ import annotations

from txfiles.spark.frames import SparkSource
from txfiles.spark.operations import OPERATIONS

__all__ = ["OPERATIONS", "SparkSource"]
