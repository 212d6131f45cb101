"""SQL tables as a target: one transaction a write, and a ledger table that says what each one did.

`address` reads a URL, `database` is a connection, `dialects` know what differs from database to database, `types` how
values travel, `statements` renders SQL, `ledger` keeps the commits, `call` is patient, `apply` changes the table in a
transaction, `write` runs one write from its first look to its commit, `target` ties them together.

Source: specs/10-sql.md.
"""
