"""The target of plain Parquet and CSV folders with txfiles' own log. `target` is what the layers above see.

Each public operation is one function: it makes the call's attempt, runs the operation and reports the result.
"""
