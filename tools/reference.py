"""Writes docs/reference.md from the code: commands, files, adapters, exit codes. ``--check`` only compares."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from typer.main import get_command

import lading
from lading import contract, errors, events
from lading.assemble import CATALOGUES, FORMATS, SOURCES, TRANSFORMS, WRAPPERS, Adapter
from lading.cli.app import app
from lading.cli.failures import EXIT_CODES
from lading.documents import show_duration
from lading.export.definition import Export
from lading.export.layout import RUN_VARIABLES, FileType, Layout, Names
from lading.routing.router import MOST_KEYS, MOST_PARTITIONS
from lading.run.outlook import Due, Outlook
from lading.settings import Settings, Tenant
from lading.transforms import checks, checks_keys, checks_rows, checks_whole

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
WIDTH = 100

_PARSED = {
    "parse_size": "size",
    "parse_duration": "duration",
    "parse_instant": "instant",
    "parse_every": "step",
}
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", datetime: "instant",
          timedelta: "duration", SecretStr: "text, secret"}  # fmt: skip
_CHECKS = {
    "unique": checks_keys.Unique,
    "not_null": checks_rows.NotNull,
    "range": checks_rows.InRange,
    "regex": checks_rows.Matches,
    "in": checks_rows.OneOf,
    "ordered": checks_keys.Ordered,
    "balance": checks_keys.Balance,
    "row_count": checks_whole.RowCount,
    "freshness": checks_whole.Freshness,
    "distribution": checks_whole.Distribution,
}
_SAID = {"not_null": "No value is NULL.", "in": "Every value is one of those listed; NULL passes."}

_ALSO = {
    "Project": "`Outlook` is what `plan` says, with the fields "
    + ", ".join(f"`{each.name}`" for each in fields(Outlook))
    + "; each of `due` has "
    + ", ".join(f"`{each.name}`" for each in fields(Due))
    + ". `pa.Table` is a `pyarrow.Table`. `runs`, `show`, `status` and `tables` give what the commands of these names "
    "print with `--json`.\n\n"
    "A `status` of `runs` and `show` is `published`, `committed` (sealed, not published yet), `replaced` (its files "
    "were lost before it was published, and a revision took its place), `failed`, `abandoned` or "
    "`unchanged`: an incremental interval in which the source had nothing new. The `Result` of that run, and of one "
    "that had been done before, says `skipped`: nothing was delivered by it.",
    "Result": "Names of tenants stand in messages: they are names of recipients. Unknown ones are only counted where "
    "the tenant column is neither `public` nor `internal`, or is excluded.",
}


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Made from the code by `tools/reference.py`; a test compares the two. Sizes are written 256MB or 64MiB, "
        "durations 60s, 15m, 24h, 7d or PT1H, steps 15m, 1 hour or 1 month, instants 2013-01-01 or "
        "2013-01-01T06:00:00Z. Unknown keys are errors.",
        *_commands(),
        *_exit_codes(),
        *_errors(),
        "## lading.yaml",
        *_models(Settings, "lading.yaml"),
        "`retry` and `limit` hold for every bucket, and are described under [stores](#stores). `keys` and `signing` "
        "take the `url` of a folder, such as file://./keys and file://./keys/signing, and `keys` also `wrap`, one of "
        "the [services that wrap data keys](#services-that-wrap-data-keys). `environment`, "
        "`journal`, `lease` and `buffer_memory` give way to variables named `LADING_ENVIRONMENT` and so on, and these "
        "to flags. `${NAME}` in any text is the variable of that name.",
        "## Tenants",
        "One file of `tenants/` for each tenant.",
        *_models(Tenant, "tenants"),
        "## Contracts",
        _markdown((inspect.getdoc(contract) or "").partition("\n")[2]),
        "## Exports",
        "One file of `exports/` for each.",
        *_models(Export, "exports"),
        *_layouts(),
        *_sources(),
        *_stores(),
        *_wrappers(),
        *_catalogues(),
        *_formats(),
        *_transforms(),
        *_checks(),
        *_python(),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part) + "\n"


# --- commands and failures -----------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    group: Any = get_command(app)
    yield "## Commands"
    root = _context(group, "lading", None)
    yield _help(root)
    yield from _commands_of(group, root)


def _commands_of(group: Any, context: Any) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = _context(command, name, context)
        yield f"### {inner.command_path}"
        yield _help(inner)
        if hasattr(command, "list_commands"):
            yield from _commands_of(command, inner)


def _context(command: Any, name: str, parent: Any) -> Any:
    return command.make_context(
        name, [], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )


def _help(context: Any) -> str:
    lines = [line.rstrip() for line in context.command.get_help(context).splitlines()]
    return "\n".join(["```text", *lines, "```"])


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    yield _table(("code", "meaning"), [(str(code), meaning) for code, meaning in EXIT_CODES.items()])


def _errors() -> Iterator[str]:
    yield "## Errors"
    yield _markdown(inspect.getdoc(errors) or "")


# --- models --------------------------------------------------------------------------------------------------------


def _models(model: type[BaseModel], of: str, seen: Any = None) -> Iterator[str]:
    """A model's keys as a table, then the models that they hold, each once; ``of`` goes before their titles."""
    seen = {model} if seen is None else seen
    hints = typing.get_type_hints(model, include_extras=True)
    rows = [_row(name, field, hints[name], of) for name, field in model.model_fields.items()]
    yield _table(("key", "type", "default", ""), rows)
    for field in model.model_fields.values():
        for inner in _inside(field.annotation):
            if inner not in seen:
                seen.add(inner)
                yield f"### {of}: {_title(inner)}"
                yield _markdown(_doc(inner))
                yield from _models(inner, of, seen)


def _title(model: type[BaseModel]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__.removesuffix("Section")).lower()


def _doc(thing: Any) -> str:
    return (inspect.cleandoc(thing.__dict__.get("__doc__") or "")) if isinstance(thing, type) else ""


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _inside(argument)


def _row(name: str, field: FieldInfo, hint: Any, of: str) -> tuple[str, ...]:
    kind = _kind(hint, of)
    limits = [_limit(each) for each in field.metadata]
    kind = ", ".join([kind, *filter(None, limits)])
    return f"`{name}`", kind, _default(field, kind), field.description or ""


def _kind(hint: Any, of: str) -> str:
    """A type as people would say it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        parsers = [getattr(getattr(each, "func", None), "__name__", "") for each in hint.__metadata__]
        return next((_PARSED[p] for p in parsers if p in _PARSED), None) or _kind(arguments[0], of)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(each, of) for each in arguments if each is not NoneType))
    if origin is Literal:
        return ", ".join(f"`{each}`" for each in arguments)
    if origin in (tuple, list):
        fixed = origin is tuple and arguments[-1] is not Ellipsis
        return "[least, greatest]" if fixed else f"list of {_kind(arguments[0], of)}"
    if origin is not None and issubclass(origin, Mapping):
        if arguments[1] is Any:
            return "mapping"
        return f"mapping of {_kind(arguments[0], of)} to {_kind(arguments[1], of)}"
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        anchor = f"{of}-{_title(hint)}".replace(" ", "-").replace(".", "")
        return f"[{_title(hint)}](#{anchor})"
    return _PLAIN.get(hint, "any")


def _limit(constraint: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if (bound := getattr(constraint, name, None)) is not None:
            return f"{sign} {bound:_}".replace("_", " ") if isinstance(bound, int) else f"{sign} {bound}"
    return ""


def _default(field: FieldInfo, kind: str) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}, ""):
        return ""
    if isinstance(value, timedelta):
        return f"`{show_duration(value)}`"
    if isinstance(value, BaseModel):
        return ""
    if kind.startswith("size") and isinstance(value, int):
        return f"`{_size(value)}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _size(value: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("MB", 10**6), ("KiB", 1 << 10)):
        if value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


# --- adapters ------------------------------------------------------------------------------------------------------


def _sources() -> Iterator[str]:
    yield "## Sources"
    yield "A section of `connections` in lading.yaml; `type` names the source."
    for name, adapter in SOURCES.items():
        yield f"### type: {name}"
        yield from _adapter(
            adapter,
            name,
            f"Needs the extra `{adapter.extra}`: `pip install '.[{adapter.extra}]'` in the checkout."
            if adapter.extra
            else "",
        )
        if name == "files":
            yield "`store`, required, names the store of lading.yaml that holds the files."


def _adapter(adapter: Adapter, of: str, note: str = "") -> Iterator[str]:
    model: type[BaseModel] = getattr(importlib.import_module(adapter.module), adapter.options)
    yield " ".join(filter(None, (_doc(model), note)))
    yield from _models(model, of)


def _stores() -> Iterator[str]:
    yield "## Stores"
    yield (
        "A section of `stores` in lading.yaml; the scheme of its `url` says which. A store that is `protected: true` "
        "takes only what two people have approved: [protection.md](protection.md)."
    )
    for title, module, name in (
        ("A folder: file://", "local", "LocalOptions"),
        ("A bucket: s3://, gs://, az://", "object_options", "ObjectOptions"),
        ("retry", "retry", "RetryOptions"),
        ("limit", "limit", "LimitOptions"),
    ):
        yield f"### {title}"
        yield from _adapter(Adapter(f"lading.stores.{module}", "", name), "stores")


def _wrappers() -> Iterator[str]:
    yield "## Services that wrap data keys"
    yield (
        "The section `keys.wrap` in lading.yaml; `type` names the service. `key` names a key for each tenant; how "
        "`{tenant}` is spelt in it, and what else there is to say, stands in [encryption.md](encryption.md)."
    )
    for name, adapter in WRAPPERS.items():
        yield f"### wrap: {name}"
        extra = f"Needs the extra `{adapter.extra}`: `pip install '.[{adapter.extra}]'` in the checkout."
        yield from _adapter(adapter, name, extra if adapter.extra else "")


def _catalogues() -> Iterator[str]:
    yield "## Catalogues"
    yield (
        "A section of `catalogues` in lading.yaml, for exports of the channel `snapshot`; `type` names the kind. All "
        "need the extra `iceberg`, and `glue` the extra `aws`: [snapshot.md](snapshot.md)."
    )
    for name, adapter in CATALOGUES.items():
        yield f"### catalogue: {name}"
        yield from _adapter(adapter, name)


def _formats() -> Iterator[str]:
    yield "## Formats"
    yield (
        "The section `format` of an export; `type` names the format. Each also takes `max_file_size` (size): no file "
        "becomes larger, unless one row alone does. Text files are filled up to the last sixty-fourth. Parquet and "
        "Arrow files are filled by what rows would take if they did not compress at all, so they end early rather than "
        "late, mostly in the last quarter, and have small row groups at their end: give them 16 MB or more."
    )
    for name, adapter in FORMATS.items():
        yield f"### format: {name}"
        yield from _adapter(adapter, name)


def _transforms() -> Iterator[str]:
    yield "## Transforms"
    yield (
        "The list `transforms` of an export, applied in its order. `rename`, `exclude` and `consent` name columns as "
        "the source does, so they stand before a `rename` of the same column; `mask` and `select` name them as the "
        "transforms before have left them, after a `rename` by the new name."
    )
    modules: set[str] = set()
    for name, (module, factory) in TRANSFORMS.items():
        loaded = importlib.import_module(module)
        made = getattr(loaded, factory)
        yield f"### {name}"
        yield _markdown(_doc(made))
        if isinstance(made, type) and issubclass(made, BaseModel):
            yield from _models(made, name)
        if module not in modules:
            modules.add(module)
            yield _markdown((inspect.getdoc(loaded) or "").partition("\n")[2])


def _checks() -> Iterator[str]:
    yield "## Checks"
    yield _markdown(inspect.getdoc(checks) or "")
    for name in checks.KINDS:
        described: Any = _CHECKS[name]
        yield f"### check: {name}"
        yield _markdown(_doc(described)) or _SAID.get(name, "")
        options = getattr(sys.modules[described.__module__], f"{described.__name__}Options", None)
        if options is not None:
            yield from _models(options, name)


def _python() -> Iterator[str]:
    yield "## Python"
    yield (
        "`import lading`; each error above, but for the last three, is `lading.<name>`. Each command is a call of "
        "these. What stands in brackets may be left out, and what comes after `*` is given by its name."
    )
    for name in ("Project", "Result", "verify", "files", "Report"):
        thing = getattr(lading, name)
        yield f"### lading.{name}"
        if not isinstance(thing, type):
            yield f"`{name}{_signature(thing)}` returns `{inspect.signature(thing).return_annotation}`."
        yield _markdown(inspect.getdoc(thing) or "")
        if is_dataclass(thing):
            yield "Fields: " + ", ".join(f"`{n.name}`" for n in fields(thing) if n.name[0] != "_") + "."
        rows = [
            (f"`{member}{_signature(value)}`", _returned(value), _first(value))
            for member, value in vars(thing).items()
            if not member.startswith("_") and callable(getattr(thing, member)) and inspect.getdoc(value)
        ]
        if isinstance(thing, type) and rows:
            yield _table(("method", "returns", ""), rows)
        yield _ALSO.get(name, "")
    yield "### lading.events"
    yield inspect.getdoc(events) or ""
    yield _table(
        ("event", ""),
        [
            (f"`{name}({', '.join(inspect.signature(thing).parameters)})`", _first(thing))
            for name, thing in vars(events).items()
            if isinstance(thing, type) and thing.__module__ == events.__name__ and thing is not events.Event
        ],
    )


def _returned(thing: Any) -> str:
    return f"`{inspect.signature(getattr(thing, '__func__', thing)).return_annotation}`"


def _first(thing: Any) -> str:
    """The first paragraph of its docstring, unless `dataclass` wrote that."""
    said = inspect.getdoc(thing) or ""
    return "" if said.startswith(f"{thing.__name__}(") else said.split("\n\n")[0].replace("``", "`")


def _signature(thing: Any) -> str:
    """Its parameters by name: what may be left out in brackets, what is given by name only after ``*``."""
    found = [
        each
        for each in inspect.signature(getattr(thing, "__func__", thing)).parameters.values()
        if each.name not in ("self", "cls")
    ]
    names: list[str] = []
    for each in found:
        if each.kind is each.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        if each.kind is each.VAR_KEYWORD:
            names.append(f"**{each.name}")
        else:
            names.append(each.name if each.default is each.empty else f"[{each.name}]")
    return f"({', '.join(names)})"


def _layouts() -> Iterator[str]:
    yield "## Layouts"
    names = Names(
        "prod", "nyc-flights", "flights", "UA", 1, datetime(2013, 1, 1, 6, tzinfo=UTC), "7f3b4e5a" * 4, 1
    )
    kind = FileType("parquet", "snappy", "parquet")
    rows = [
        (f"`{preset}`", f"`{layout.folder(names)}`", f"`{layout.data_file(names, 0, 1, 1, kind)}`",
         f"`{layout.manifest(names)}`, `{layout.sums()}`, `{layout.success()}`")
        for preset in ("lake", "dated", "svc002")
        for layout in (Layout(preset, tenanted=True),)
    ]  # fmt: skip
    yield _table(("preset", "folder of an attempt", "file", "control objects"), rows)
    yield (
        "`svc002` has a `.sha256` beside each file and a [delivery record](delivery-records.md), too; its paths hold "
        "neither project nor environment, so give each of these a store, or a prefix of one, of its own. Whoever reads "
        "a place of two environments gets the rows of both."
    )
    variables = ", ".join(f"`{{{name}}}`" for name in sorted(RUN_VARIABLES))
    yield (
        "What data names is percent-encoded in paths, the empty text is `%65mpty`, and NULL "
        "`__HIVE_DEFAULT_PARTITION__`. Files have these columns too, as they are delivered: read them there, not in "
        "the names of folders (DuckDB: `hive_partitioning = false`).\n\n"
        f"`partition_by` makes at most {MOST_PARTITIONS:,} partitions of one tenant in one sweep, and {MOST_KEYS:,} of "
        "all its tenants; with more the run is refused before anything is committed, as each is a folder with a file "
        "that the manifest lists and every reader opens. Give a column of many values `shards`."
    )
    yield f"A `path` of one's own may hold {variables} and columns of `partition_by`; a `name` also `{{file}}`."


# --- text ----------------------------------------------------------------------------------------------------------


def _table(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown; no column without content."""
    if not rows:
        return "It takes no settings."
    kept = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    lines = [[headers[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines
    )


def _markdown(text: str) -> str:
    """A docstring as Markdown: ``x`` is `x`, a block after ``::`` is code, an indented one explains the line before."""
    lines: list[str] = []
    fence = ""
    for line in text.strip("\n").splitlines():
        indented = line.startswith("    ")
        if not line and lines and not lines[-1]:
            continue
        if fence == "wanted" and indented:
            fence = "yaml" if re.match(r"    [\w-]+:|    - ", line) else "text"
            lines.append(f"```{fence}")
        if fence in ("yaml", "text") and line and not indented:
            _close(lines)
            fence = ""
        if fence in ("yaml", "text"):
            lines.append(line[4:])
            continue
        if line.rstrip().endswith("::"):
            fence = "wanted"
            if line.strip() == "::":
                continue
            line = line.rstrip().removesuffix(":")
        elif line.startswith("``") and line.endswith("``"):
            line = f"- {line}:"
        elif indented:
            line = f"  {line.strip()}"
        lines.append(re.sub(r"``(.+?)``", r"`\1`", line))
    if fence in ("yaml", "text"):
        _close(lines)
    return "\n".join(lines).strip("\n")


def _close(lines: list[str]) -> None:
    while lines and not lines[-1]:
        lines.pop()
    lines.extend(["```", ""])


def main(arguments: list[str]) -> int:
    text = page()
    if arguments == ["--check"]:
        if PAGE.is_file() and PAGE.read_text("utf-8") == text:
            return 0
        print("docs/reference.md is not what the code says: run python tools/reference.py", file=sys.stderr)
        return 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
