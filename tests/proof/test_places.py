"""A delivery that was moved within the tree is caught; an honest copy of any part of the tree passes."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

from delivered import Objects, lay_out, make_project, objects_in, store_of

from lading import Project, verify
from lading.proof import Report
from lading.proof import verify as prove

TOLD = "stands in another place than it was delivered to"


def folders(objects: Objects) -> list[str]:
    return [
        posixpath.dirname(name)
        for name in objects
        if posixpath.basename(name) == "_manifest.json" or posixpath.basename(name).startswith("manifest_")
    ]


def renamed(objects: Objects, before: str, after: str) -> Objects:
    return {
        after + n.removeprefix(before) if n.startswith(f"{before}/") else n: data
        for n, data in objects.items()
    }


def uri_of(objects: Objects, folder: str) -> str:
    name = next(n for n in objects if n.startswith(folder) and "manifest" in n and n.endswith(".json"))
    return str(json.loads(objects[name])["destination"]["uri"])


def misplaced(report: Report) -> list[str]:
    return [p.object for p in report.problems if p.problem.startswith(TOLD)]


def test_a_delivery_in_another_place_is_caught(objects: Objects) -> None:
    for folder in folders(objects):
        parts = folder.split("/")
        for at, part in enumerate(parts):
            key, equals, _ = part.rpartition("=")
            other = "/".join([*parts[:at], f"{key}{equals}else", *parts[at + 1 :]])
            assert misplaced(prove(store_of(renamed(objects, folder, other)))) == [other], (folder, other)


def test_a_tenants_delivery_is_caught_among_anothers_without_anything_beside_it(objects: Objects) -> None:
    for folder in folders(objects):
        if "/tenant=a/" in folder:
            other = folder.replace("/tenant=a/", "/tenant=b/")
            alone = {n: data for n, data in objects.items() if n.startswith(f"{folder}/")}
            assert misplaced(prove(store_of(renamed(alone, folder, other)))) == [other]


def test_a_delivery_that_is_looked_at_alone_in_the_folder_of_another_is_caught(
    objects: Objects, tmp_path: Path
) -> None:
    """Whole and untouched, in the place of the one that was asked for: no name below it tells them apart."""
    here, *others = folders(objects)
    for number, other in enumerate(others):
        place = lay_out(
            {n.removeprefix(f"{other}/"): data for n, data in objects.items() if n.startswith(f"{other}/")},
            tmp_path / str(number) / here,
        )
        report = verify(str(place))
        assert misplaced(report) == [str(place)], other
        assert report.delivery is not None
        assert report.delivery["run_id"] in uri_of(objects, other) or report.delivery["run_id"][:8] in other


def test_a_delivery_that_is_looked_at_alone_may_be_a_copy(objects: Objects, tmp_path: Path) -> None:
    for number, folder in enumerate(folders(objects)):
        mine = {n.removeprefix(f"{folder}/"): d for n, d in objects.items() if n.startswith(f"{folder}/")}
        names = folder.split("/")
        for at, place in enumerate(("mine", "orders/may", *("/".join(names[n:]) for n in range(len(names))))):
            assert misplaced(verify(str(lay_out(mine, tmp_path / f"{number}/{at}" / place)))) == []


def test_a_copy_of_any_subtree_under_any_root_passes(objects: Objects) -> None:
    subtrees = {"/".join(f.split("/")[:depth]) for f in folders(objects) for depth in range(f.count("/") + 1)}
    for subtree in sorted(subtrees):
        below = f"{subtree}/" if subtree else ""
        copy = {n.removeprefix(below): data for n, data in objects.items() if n.startswith(below)}
        for root in ("", "copy", "home/joe/orders", "deep/er/mine"):
            told = prove(store_of({posixpath.join(root, n): data for n, data in copy.items()}))
            assert misplaced(told) == [], (subtree, root)


def test_a_store_that_was_moved_passes_beside_the_one_that_took_its_place(appended: Objects) -> None:
    uris = {json.loads(appended[f"{f}/_manifest.json"])["destination"]["uri"] for f in folders(appended)}
    assert all(uri.startswith("memory://lake/") for uri in uris)
    ours = {n: data for n, data in appended.items() if "tenant=a" in n}
    theirs = {n: data for n, data in appended.items() if "tenant=b" in n}
    both = {f"lake/{n}": data for n, data in ours.items()} | {f"old/{n}": data for n, data in theirs.items()}
    assert prove(store_of(both)).ok


def test_projects_that_a_layout_keeps_together_pass_in_one_tenants_place(
    project: Path, tmp_path: Path
) -> None:
    """`svc002` has neither project nor environment in its paths: a tenant meets both."""
    other = make_project(tmp_path / "shop")
    settings = other / "lading.yaml"
    document = {**json.loads(settings.read_text()), "environment": "other"}
    settings.write_text(json.dumps(document))
    assert {r.status for r in Project.load(other).run("to_svc")} == {"succeeded"}
    both = {**objects_in(project / "lake"), **objects_in(other / "lake")}
    seen = {name.removeprefix("a/"): data for name, data in both.items() if name.startswith("a/")}
    assert prove(store_of(seen)).record()["problems"] == []
