"""A server of Iceberg's REST catalogue protocol on the loopback, as far as tables need it, over a catalogue in SQLite.

No server of the protocol comes as a wheel; what it says follows the protocol's OpenAPI document. It asks for a token.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pyiceberg.catalog.rest import CreateTableRequest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.table import CommitTableRequest, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

TOKEN = "the-t0ken-of-the-server"
CODES: dict[type[Exception], int] = {
    NoSuchTableError: 404,
    TableAlreadyExistsError: 409,
    NamespaceAlreadyExistsError: 409,
    CommitFailedException: 409,
}


@contextlib.contextmanager
def serving(folder: Path, hook: Callable[[str], int | None] = lambda when: None) -> Iterator[str]:
    """``hook`` is asked ``before`` and ``after`` a commit: a number is answered in place of what is right."""
    catalog = SqlCatalog("rest", uri=f"sqlite:///{folder}/rest.db", warehouse=f"file://{folder}")
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Tests tell what went wrong."""

        def _serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            parts = self.path.partition("?")[0].strip("/").split("/")[1:]
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer(401, _error("NotAuthorizedException", f"no: {self.headers['Authorization']}"))
                return
            try:
                with lock:
                    code, found = _act(self.command, parts, body)
            except tuple(CODES) as error:
                code, found = CODES[type(error)], _error(type(error).__name__, str(error))
            self._answer(code, found)

        def _answer(self, code: int, found: Any) -> None:
            data = b"" if self.command == "HEAD" or found is None else json.dumps(found).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_HEAD = _serve

    def _act(method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        match method, parts:
            case "GET", ["config"]:
                # A server may say how files are reached, and must not be heeded.
                return 200, {"defaults": {}, "overrides": {"py-io-impl": "nowhere.Nothing"}}
            case "GET", ["namespaces"]:
                return 200, {"namespaces": catalog.list_namespaces()}
            case "POST", ["namespaces"]:
                catalog.create_namespace(tuple(body["namespace"]))
                return 200, body
            case "HEAD" | "GET", ["namespaces", namespace]:
                found = catalog.namespace_exists(namespace)
                return (200, {"namespace": [namespace], "properties": {}}) if found else (404, None)
            case "POST", ["namespaces", namespace, "tables"]:
                asked = CreateTableRequest.model_validate(body)
                made = catalog.create_table(
                    (namespace, asked.name),
                    asked.table_schema,
                    asked.location,
                    asked.partition_spec or UNPARTITIONED_PARTITION_SPEC,
                    asked.write_order or UNSORTED_SORT_ORDER,
                    asked.properties,
                )
                return 200, _told(made)
            case "GET" | "HEAD", ["namespaces", namespace, "tables", name]:
                return 200, _told(catalog.load_table((namespace, name)))
            case "POST", ["namespaces", namespace, "tables", name]:
                if (code := hook("before")) is not None:
                    return code, _error("Hooked", "")
                request = CommitTableRequest.model_validate(
                    {**body, "identifier": {"namespace": [namespace], "name": name}}
                )
                table = catalog.load_table((namespace, name))
                catalog.commit_table(table, request.requirements, request.updates)
                if (code := hook("after")) is not None:
                    return code, _error("Hooked", "")
                return 200, _told(catalog.load_table((namespace, name)))
        return 404, _error("NotFound", "/".join(parts))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        catalog.engine.dispose()


def _told(table: Table) -> Any:
    return {
        "metadata-location": table.metadata_location,
        "metadata": json.loads(table.metadata.model_dump_json()),
        "config": {"py-io-impl": "nowhere.Nothing"},
    }


def _error(kind: str, message: str) -> Any:
    return {"error": {"message": message, "type": kind, "code": 0}}
