"""SQL tables as a target: one transaction a write, and a ledger table that says what each one did.

`address` reads a URL, `database` is a connection, `dialects` know what differs from database to database, `types` how
values travel, `statements` renders SQL and `conditions` filters, `ledger` keeps the commits, `call` is patient,
`staging` makes a batch fit and loads it, `apply` changes the table in a transaction, `matching` finds and deletes rows,
`commit` ends with the ledger's row, `write` and `delete` run one call, `reading` and `table` read, `target` ties them
together.

Source: specs/10-sql.md.
"""
