"""Table catalogues: SQL databases, Iceberg's REST protocol, AWS Glue, through pyiceberg.

Data and metadata go through the store that the catalogue names, never by credentials that a catalogue hands out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from lading.documents import Duration
from lading.errors import LadingError, StoreDenied, StoreUnavailable
from lading.ports import Store

if TYPE_CHECKING:
    from lading.channels.iceberg import Access, Tables

SCHEMES = ("file", "s3", "gs", "abfss", "memory")
"""Of stores whose locations other engines understand; memory is for tests."""


class CatalogueOptions(BaseModel):
    """What every catalogue takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field(
        description="The store of `stores` in which tables lie, their data and their metadata."
    )
    namespace: str | None = Field(
        None,
        pattern="^[a-z0-9_]{1,100}$",
        description="The tables' namespace (Glue: the database); else project and environment: shop_prod.",
    )
    history: Duration = Field(
        default=timedelta(days=5),
        description="How long an earlier state of a table can be read (time travel), an hour at least; older ones "
        "expire at the next commit.",
    )

    @field_validator("history")
    @classmethod
    def _is_long_enough(cls, history: timedelta) -> timedelta:
        # A publisher may be at work on a state while others go on.
        if history < timedelta(hours=1):
            raise ValueError("must be at least 1h")
        return history


class SqlOptions(CatalogueOptions):
    """A SQL database: SQLite for one machine, PostgreSQL for several."""

    url: SecretStr = Field(
        description="sqlite:///./catalogue.db (relative to the project), or postgresql://user:${PASSWORD}@host/database"
    )

    @field_validator("url")
    @classmethod
    def _is_a_database(cls, url: SecretStr) -> SecretStr:
        if not re.match(r"(sqlite|postgres|postgresql(\+psycopg)?)://", url.get_secret_value()):
            raise ValueError("must be sqlite:///a/file or postgresql://user@host/database")
        return url


class RestOptions(CatalogueOptions):
    """A server of Iceberg's REST catalogue protocol."""

    url: str = Field(description="Where it answers: https://catalogue.example.com/api")
    warehouse: str | None = Field(None, description="The server's name of a warehouse, where it has several.")
    token: SecretStr | None = Field(None, description="A bearer token.")
    credential: SecretStr | None = Field(None, description="OAuth2 client credentials: id:secret")
    oauth_url: str | None = Field(None, description="Where tokens are got for them, if not at the server.")
    scope: str | None = Field(None, description="The OAuth2 scope to ask for.")


class GlueOptions(CatalogueOptions):
    """AWS Glue. Credentials that are not given come from boto3's own chain."""

    region: str | None = None
    catalog_id: str | None = Field(None, description="Another account's catalogue.")
    endpoint: str | None = Field(None, description="Where the service answers, if not at AWS's own address.")
    profile: str | None = Field(None, description="A profile of ~/.aws/config.")
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None


def sql_tables(name: str, options: SqlOptions, store: Store, root: Path, memory: int) -> Tables:
    """Nothing is connected to before it is needed."""

    def database() -> Any:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(options.url.get_secret_value())
            if url.drivername in ("postgresql", "postgres"):
                url = url.set(drivername="postgresql+psycopg")
            if url.get_backend_name() == "sqlite" and url.database:
                url = url.set(database=str(root.resolve() / url.database)).update_query_dict(
                    {"timeout": "30"}
                )
        except ArgumentError as error:
            raise StoreDenied(f"The catalogue {name!r}: its url is no URL of a database.") from error
        return url

    def absent() -> bool:
        url = database()
        if url.get_backend_name() != "sqlite" or not url.database:
            return False
        file = Path(url.database)
        return file.parent.is_dir() and not file.exists()  # without its folder it is out of reach

    def connect(properties: dict[str, str]) -> Access:
        from pyiceberg.catalog.sql import SqlCatalog
        from sqlalchemy import NullPool, create_engine
        from sqlalchemy.exc import DBAPIError, NoSuchModuleError
        from sqlalchemy.exc import TimeoutError as PoolTimeout

        url = database()

        def judge(error: Exception) -> LadingError | None:
            if isinstance(error, DBAPIError | PoolTimeout):
                return _unavailable(name, type(getattr(error, "orig", error)).__name__)
            if isinstance(error, NoSuchModuleError | ModuleNotFoundError):
                return StoreDenied(
                    f"The catalogue {name!r}: there is no driver for {url.drivername}.",
                    hint="PostgreSQL needs the extra postgres.",
                )
            return None

        given = {**properties, "uri": url.render_as_string(hide_password=False)}

        def opened() -> Any:
            catalog = _own(SqlCatalog)("lading", **given)
            catalog.engine.dispose()
            # Hours may lie between two questions, so that a connection that waits for the next one may be dead by then.
            catalog.engine = create_engine(url, poolclass=NullPool)
            return catalog

        return _access(name, opened, judge)

    return _tables(connect, options, store, memory, absent)


def rest_tables(name: str, options: RestOptions, store: Store, root: Path, memory: int) -> Tables:
    """Nothing is connected to before it is needed."""

    def connect(properties: dict[str, str]) -> Access:
        from pyiceberg.catalog.rest import RestCatalog

        own: dict[str, Any] = {
            "uri": options.url,
            "warehouse": options.warehouse,
            "token": options.token,
            "credential": options.credential,
            "oauth2-server-uri": options.oauth_url,
            "scope": options.scope,
            # Not wanted: files are reached through the store.
            "header.X-Iceberg-Access-Delegation": "",
        }
        return _access(name, lambda: _own(RestCatalog)("lading", **properties, **_given(own)), lambda _: None)

    return _tables(connect, options, store, memory)


def glue_tables(name: str, options: GlueOptions, store: Store, root: Path, memory: int) -> Tables:
    """Nothing is connected to before it is needed."""

    def connect(properties: dict[str, str]) -> Access:
        from botocore.exceptions import BotoCoreError, ClientError
        from pyiceberg.catalog.glue import GlueCatalog

        own: dict[str, Any] = {
            "glue.region": options.region,
            "glue.id": options.catalog_id,
            "glue.endpoint": options.endpoint,
            "glue.profile-name": options.profile,
            "glue.access-key-id": options.access_key_id,
            "glue.secret-access-key": options.secret_access_key,
            "glue.session-token": options.session_token,
        }

        def judge(error: Exception) -> LadingError | None:
            if isinstance(error, ClientError):
                code = str(error.response.get("Error", {}).get("Code", ""))
                denied = "AccessDenied" in code or "UnrecognizedClient" in code or "InvalidSignature" in code
                return _denied(name, code) if denied else _unavailable(name, code)
            return _unavailable(name, type(error).__name__) if isinstance(error, BotoCoreError) else None

        return _access(name, lambda: _own(GlueCatalog)("lading", **properties, **_given(own)), judge)

    return _tables(connect, options, store, memory)


def _tables(
    connect: Callable[[dict[str, str]], Access],
    options: CatalogueOptions,
    store: Store,
    memory: int,
    absent: Callable[[], bool] = lambda: False,
) -> Tables:
    from lading.channels.iceberg import Tables
    from lading.channels.iceberg_io import Files

    files = Files(store)
    return Tables(lambda: connect(files.properties), files, options.history, memory, absent=absent)


def _own(kind: type[Any]) -> type[Any]:
    """The catalogue, whose tables' properties have no say in how files are reached."""

    class Own(kind):  # type: ignore[misc]
        def _load_file_io(self, properties: Any = None, location: str | None = None) -> Any:
            from lading.channels.iceberg_io import StoreIO

            return StoreIO(self._files)

        def __init__(self, name: str, **properties: str) -> None:
            self._files = dict(properties)
            super().__init__(name, **properties)

    Own.__name__ = kind.__name__
    return Own


def _access(name: str, open_: Callable[[], Any], judge: Callable[[Exception], LadingError | None]) -> Access:
    from lading.channels.iceberg import Access

    def told(error: Exception) -> LadingError | None:
        return judge(error) or _by_protocol(name, error)

    try:
        return Access(name, open_(), told)
    except LadingError:
        raise
    except Exception as error:
        known = told(error)
        if known is None:
            raise
        raise known from None


def _by_protocol(name: str, error: Exception) -> LadingError | None:
    """Failures of REST catalogues, which others share. No text of a server is passed on: it may repeat a token."""
    from pyiceberg.exceptions import (
        BadRequestError,
        ForbiddenError,
        NoSuchNamespaceError,
        OAuthError,
        RESTError,
        UnauthorizedError,
    )
    from requests.exceptions import RequestException

    told = type(error).__name__
    if isinstance(error, UnauthorizedError | ForbiddenError | OAuthError | BadRequestError):
        return _denied(name, told)
    if isinstance(error, NoSuchNamespaceError):
        return StoreDenied(f"The catalogue {name!r} has not the namespace that its tables shall have.")
    if isinstance(error, RESTError | RequestException):
        return _unavailable(name, told)
    return None


def _denied(name: str, told: str) -> StoreDenied:
    return StoreDenied(
        f"The catalogue {name!r} refuses ({told}).", hint="Check its credentials and permissions."
    )


def _unavailable(name: str, told: str) -> StoreUnavailable:
    return StoreUnavailable(f"The catalogue {name!r} cannot be reached, or does not answer ({told}).")


def _given(properties: dict[str, Any]) -> dict[str, str]:
    return {
        key: value.get_secret_value() if isinstance(value, SecretStr) else value
        for key, value in properties.items()
        if value is not None
    }
