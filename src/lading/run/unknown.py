"""Tenants that nobody knows, in the words that messages, the status and the journal have."""

from __future__ import annotations

from collections.abc import Collection

from lading.errors import DataRefused, counted
from lading.run.job import Binding, Job

_LIST = "List {0} in tenants/, or let the export discover tenants."


def unknown_tenants(job: Job, binding: Binding, tenants: Collection[str], rows: str = "") -> DataRefused:
    """Of tenants that a reading met. ``rows``: which rows they have, where not all were read.

    An unknown tenant is nothing but a value of the data: it is not told where the column's values are not to be told.
    """
    where = f"Column {job.tenant_column}: {rows}"
    if binding.conceals_tenants:
        return DataRefused(
            f"{where}{counted(len(tenants), 'unknown tenant')}, not named here: the column is not open, or not "
            "delivered.",
            hint=f"Compare the values of {job.tenant_column} in the source with the names in tenants/. "
            + _LIST.format("whoever is missing"),
        )
    more = f" and {len(tenants) - 1:,} more" if len(tenants) > 1 else ""
    return DataRefused(f"{where}unknown tenant {min(tenants)!r}{more}.", hint=_LIST.format("it"))


def unknown_anywhere(tenant: str) -> DataRefused:
    """Of a tenant that was asked for by name."""
    return DataRefused(
        f"Tenant {tenant!r} has no rows here and is not known from anywhere else.",
        hint="If it is spelt right, list it in tenants/ to have it delivered empty.",
    )
