"""Whether names and types still stand for what they stood for when a reading was opened.

Neither snapshots nor the lock that a reading takes (ACCESS SHARE) bind everything: a schema may be renamed and another
take its name, a table with rows may come under one that is read (INHERIT, ATTACH PARTITION), the labels of an enum and
the attributes of a composite type may be renamed. Each statement meets them as they are when it is planned. So what was
found at the opening is compared after each part.
"""

from __future__ import annotations

import psycopg

from lading.errors import SourceUnavailable
from lading.sources import postgres_sql as sql
from lading.sources.postgres_catalog import Connection


class Standing:
    """What ``holder`` has locked, as it stands now. Its session reads what is committed, not a snapshot. Thread-safe.

    ``what``: for messages.
    """

    def __init__(self, holder: Connection, what: str) -> None:
        self._holder, self._what = holder, what
        self._relations = [int(row[0]) for row in holder.execute(sql.LOCKED)]
        used = holder.execute(sql.USED_TYPES, (self._relations,)).fetchone()
        assert used is not None
        self._labels, self._composites = used
        rows = holder.execute(sql.NAMES, (self._relations,))
        self._names: dict[int, int] = dict(rows.fetchall())
        _, *self._rest = self._now(self._relations, self._relations)

    def confirm(self, relation: int = 0) -> None:
        """Compares one relation, read without its children, or all of them.

        Raises SourceUnavailable, also where the locks have gone: what was truncated since then has read as empty.
        """
        relations = [relation] if relation else self._relations
        try:
            names, tree, types = self._now(relations, [] if relation else relations)
        except psycopg.Error:
            raise SourceUnavailable(
                f"PostgreSQL ended the session that kept {self._what} from changing."
            ) from None
        changes = {
            "what its names lead to": names != sum(self._names.get(oid, 0) for oid in relations),
            "its partitions or children": not relation and tree != self._rest[0],
            "the labels or attributes of its types": types != self._rest[1],
        }
        changed = " and ".join(change for change, found in changes.items() if found)
        if changed:
            raise SourceUnavailable(f"{self._what} was changed while it was read: {changed}.")

    def _now(self, relations: list[int], parents: list[int]) -> list[int]:
        """Hashes of the relations' names, of what belongs to ``parents``, and of the types."""
        values = {
            "relations": relations,
            "parents": parents,
            "labels": self._labels,
            "composites": self._composites,
        }
        # With values bound here: the server's own binding leaves a portal open, and with it an older snapshot.
        row = psycopg.ClientCursor(self._holder).execute(sql.STANDING, values).fetchone()
        assert row is not None
        return [int(value) for value in row]
