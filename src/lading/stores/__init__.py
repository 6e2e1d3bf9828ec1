"""Stores know bytes and names, nothing else.

`local` (a folder), `memory` and `object` (S3, GCS, Azure) hold the bytes. `retry` and `limit` wrap any of them, in that
order from the outside: ``RetryStore(LimitStore(store))``, so that each attempt is counted. `probe` proves what a store
can do before it is relied on.
"""
