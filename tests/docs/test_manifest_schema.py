"""The documents of a delivery against the JSON Schemas that the package ships, and against their specification."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from delivered import bundled
from jsonschema import Draft202012Validator
from worlds import JANUARY, World, orders, some_orders

import lading
from lading import Project, scaffold
from lading.errors import LadingError
from lading.evidence import verifier
from lading.plan import Asked
from lading.ports import Store
from lading.proof.archives import Archive
from lading.run import run
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore

PAGE = Path(__file__).parents[2] / "docs" / "manifest-format.md"
PACKAGES = PAGE.with_name("audit-package.md")
KINDS = ("manifest", "latest", "success", "failure", "checkpoint")


def schema(kind: str) -> dict[str, Any]:
    text = resources.files("lading").joinpath("schemas", f"{kind}.v1.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def documents(store: Store) -> Iterator[tuple[str, Any]]:
    """(kind, document) of everything under a destination that has a schema."""
    for info in list(store.list()):
        base = info.name.rpartition("/")[2]
        if base == "_manifest.json" or re.fullmatch(r"manifest_.*\.json", base):
            yield "manifest", json.loads(store.get(info.name))
        elif base in ("_SUCCESS", "SUCCESS"):
            yield "success", json.loads(store.get(info.name))
        elif base.startswith(("_FAILURE", "FAILURE")):
            yield "failure", json.loads(store.get(info.name))
        elif base == "_checkpoint.json":
            yield "checkpoint", json.loads(store.get(info.name))
        elif base == "latest.json":
            yield "latest", json.loads(store.get(info.name))


def check(store: Store) -> list[str]:
    """Validates what is there; returns which kinds were met."""
    met = []
    for kind, document in documents(store):
        Draft202012Validator(schema(kind)).validate(document)
        unknown = list(undescribed(document, schema(kind), schema(kind)))
        assert not unknown, f"{kind}: not in the schema: {unknown}"
        met.append(kind)
    return met


def undescribed(
    value: Any, described: Mapping[str, Any], root: Mapping[str, Any], at: str = ""
) -> Iterator[str]:
    """Paths of fields that the schema does not name, except where it leaves names open."""
    while "$ref" in described:
        described = root["$defs"][described["$ref"].rpartition("/")[2]]
    if isinstance(value, dict) and described.get("type") == "object":
        others = described.get("additionalProperties")
        for name, item in value.items():
            inside = described.get("properties", {}).get(name, others)
            if inside is not None:
                yield from undescribed(item, inside, root, f"{at}.{name}")
            elif at != ".format":  # the export's own section
                yield f"{at}.{name}"
    elif isinstance(value, list) and "items" in described:
        for item in value:
            yield from undescribed(item, described["items"], root, f"{at}[]")


@pytest.mark.parametrize("kind", KINDS)
def test_the_schemas_are_schemas(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_schema_is_in_the_specification(kind: str) -> None:
    page = PACKAGES if kind == "checkpoint" else PAGE
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    words = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", text))))

    def names(described: Any) -> Iterator[str]:
        if isinstance(described, dict):
            yield from described.get("properties", {})
            for item in described.values():
                yield from names(item)
        elif isinstance(described, list):
            for item in described:
                yield from names(item)

    assert not set(names(schema(kind))) - words


def test_deliveries_revisions_additions_and_empty_intervals_fit_the_schema() -> None:  # D8, D10
    world = World(some_orders(), bound=JANUARY.replace(month=4))
    job = world.job(late=True, listed=("a", "nobody"))
    run(job)
    late = (99, "a", JANUARY, JANUARY.replace(month=4))
    world.table = orders([*zip(*(c.to_pylist() for c in world.table.columns), strict=True), late])
    world.bound = JANUARY.replace(month=5)
    run(job)
    run(
        job, Asked(start=JANUARY.replace(month=2), end=JANUARY.replace(month=3), revise=True, reason="mended")
    )
    assert {"manifest", "success"} == set(check(world.lake))
    manifests = [d for kind, d in documents(world.lake) if kind == "manifest"]
    assert {m["kind"] for m in manifests} == {"full", "addition"}
    assert any(m["supersedes"] for m in manifests)
    assert any(m["rows"]["written"] == 0 for m in manifests)


def test_a_full_refresh_and_its_pointer_fit_the_schema() -> None:  # D7
    world = World(some_orders())
    run(world.job(mode="full_refresh", tenants=False))
    assert sorted(check(world.lake)) == ["latest", "manifest", "success"]


def test_audit_packages_and_their_revisions_fit_the_schema() -> None:  # S4
    world = World(some_orders())
    run(world.job(audit=True, listed=("a", "nobody")))
    january = Asked(start=JANUARY, end=JANUARY.replace(month=2), revise=True, reason="mended")
    run(world.job(audit=True), january)
    assert {"manifest", "success", "checkpoint"} == set(check(world.lake))
    checkpoints = [d for kind, d in documents(world.lake) if kind == "checkpoint"]
    assert any(c["supersedes"] for c in checkpoints)
    assert any(c["records"]["last"] is None for c in checkpoints)


def test_the_example_of_a_chain_is_one() -> None:  # S4
    text = PACKAGES.read_text(encoding="utf-8")
    lines = [line.encode() for line in re.findall(r"^\{\"n\":[0-9].*$", text, re.M)]
    run_id, first, head = re.search(r"The run `(\w+)`.*?seed is `(\w+)`.*?head `(\w+)`", text).groups()  # type: ignore[union-attr]
    chain = verifier.Chain(verifier.seed(run_id))
    for line in lines:
        chain.line(line)
    assert (chain.judge(3, head), verifier.seed(run_id)) == ([], first)


def test_an_incremental_delivery_that_superseded_rows_fits_the_schema() -> None:
    world = World(some_orders())
    run(world.job(mode="incremental"))
    assert "manifest" in check(world.lake)


def test_a_failure_marker_fits_the_schema() -> None:  # D10
    world = World(orders([(1, None, JANUARY, JANUARY)]))
    run(world.job(listed=("a",)))
    assert check(world.lake).count("failure") == 1


@pytest.mark.parametrize("layout", ["lake", "dated", "svc002"])
@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl", "arrow"])
def test_a_project_s_deliveries_fit_the_schema(tmp_path: Path, layout: str, format: str) -> None:  # D8
    sample = scaffold.sample("shop")
    export = sample.files["exports/orders_drop.yaml"]
    changed = export.replace("{type: parquet, compression: snappy}", f"{{type: {format}}}")
    changed += f"layout: {{preset: {layout}, partition_by: [{{column: order_id, shards: 2}}]}}\n"
    files = {**sample.files, "exports/orders_drop.yaml": changed}
    scaffold.write(tmp_path, scaffold.Scaffold(files, sample.export))
    results = lading.Project.load(tmp_path).run("orders_drop")
    assert {result.status for result in results} == {"succeeded"}
    store = LocalStore(tmp_path / "deliveries")
    assert set(check(store)) == {"manifest", "success"}
    manifests = [d for kind, d in documents(store) if kind == "manifest"]
    assert all("email" not in file["columns"] for m in manifests for file in m["files"])
    assert all(m["policy"][0]["key_id"] for m in manifests)


def test_the_schema_catches_a_manifest_that_was_tampered_with() -> None:
    world = World(some_orders())
    run(world.job())
    manifest = next(d for kind, d in documents(world.lake) if kind == "manifest")
    validator = Draft202012Validator(schema("manifest"))
    for field in schema("manifest")["required"]:
        assert not validator.is_valid({k: v for k, v in manifest.items() if k != field}), field
    assert not validator.is_valid({**manifest, "export_timestamp": "yesterday"})
    assert not validator.is_valid({**manifest, "files": [{**manifest["files"][0], "sha256": "x"}]})
    assert validator.is_valid({**manifest, "a_field_to_come": 1})


def test_run_ids_are_what_the_specification_says() -> None:
    import hashlib

    world = World(some_orders())
    run(world.job())
    for kind, m in documents(world.lake):
        if kind == "manifest":
            key = [m["project"], m["environment"], m["export"], m["tenant"],
                   int(m["contract"]["version"].partition(".")[0]), m["interval"]["start"], m["revision"]]  # fmt: skip
            text = json.dumps(key, separators=(",", ":"), ensure_ascii=False)
            assert hashlib.sha256(text.encode()).hexdigest()[:32] == m["run_id"]


def test_the_errors_of_a_delivery_are_of_the_one_tree() -> None:
    world = World(orders([(1, None, JANUARY, JANUARY)]))
    run(world.job(listed=("a",)))
    names = {cls.__name__ for cls in _tree(LadingError)}
    assert {d["error"] for kind, d in documents(world.lake) if kind == "failure"} <= names


def _tree(cls: type[LadingError]) -> Iterator[type[LadingError]]:
    yield cls
    for each in cls.__subclasses__():
        yield from _tree(each)


def test_a_bundle_its_marker_and_its_pointer_fit_the_schema(tmp_path: Path) -> None:  # S3
    bundled(tmp_path / "shop", mode="full_refresh", window=None)
    run(Project.load(tmp_path / "shop").job("to_lake"))
    lake = LocalStore(tmp_path / "shop/lake")
    assert set(check(lake)) == {"latest", "success"}
    for name in [info.name for info in lake.list() if info.name.endswith(".zip")]:
        inside = MemoryStore()
        with closing(lake.read(name)) as file:
            inside.put("_manifest.json", Archive(file, name).get(f"{name}/manifest.json"))
        assert check(inside) == ["manifest"]
