"""Whatever is changed in a delivery is caught and named; what is not part of one is only mentioned."""

from __future__ import annotations

import hashlib
import json
import posixpath
from pathlib import Path

import pytest
from delivered import Objects, lay_out, store_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading import verify
from lading.manifest import canonical, marker
from lading.proof import Report
from lading.proof import verify as prove
from lading.stores.memory import MemoryStore

LINK = "is a link: what it shows may change"

# The fixture's objects are copied before they are changed.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def named(report: Report, name: str) -> bool:
    """Whether a problem is about this object, or is one of a manifest and its marker that names the other."""
    folder, base = posixpath.split(name)
    return any(
        p.object == name or (posixpath.dirname(p.object) == folder and base in p.problem)
        for p in report.problems
    )


def is_manifest(name: str) -> bool:
    base = posixpath.basename(name)
    return base == "_manifest.json" or base.startswith("manifest_")


def is_marker(name: str) -> bool:
    return posixpath.basename(name) in ("_SUCCESS", "SUCCESS")


def is_pointer(name: str) -> bool:
    return name.endswith("latest.json")


def manifests(objects: Objects) -> list[str]:
    return [name for name in objects if is_manifest(name)]


def edited(objects: Objects, **changes: bytes | None) -> Report:
    """The report after some objects were given other bytes, or were deleted (None)."""
    left = {name: data for name, data in {**objects, **changes}.items() if data is not None}
    return prove(store_of(left))


def test_an_honest_delivery_is_proven_and_said_to_be_unsigned(objects: Objects) -> None:
    report = prove(store_of(objects))
    assert report.record()["problems"] == []
    assert report.notes == []
    assert report.signed is False
    assert report.deliveries == len(manifests(objects))
    listed = [json.loads(objects[name]) for name in manifests(objects)]
    assert report.rows == sum(m["rows"]["written"] for m in listed) > 0
    assert report.files == sum(len(m["files"]) for m in listed)
    assert report.bytes == sum(f["bytes"] for m in listed for f in m["files"])


# --- one object


@shared
@given(data=st.data())
def test_any_flipped_byte_is_caught_and_its_object_named(objects: Objects, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(n for n in objects if objects[n])))
    at = data.draw(st.integers(0, len(objects[name]) - 1))
    changed = bytearray(objects[name])
    changed[at] ^= data.draw(st.integers(1, 255))
    report = edited(objects, **{name: bytes(changed)})
    assert not report.ok
    assert named(report, name)


@shared
@given(data=st.data())
def test_truncated_appended_and_emptied_objects_are_named(objects: Objects, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(n for n in objects if objects[n])))
    whole = objects[name]
    how = data.draw(st.sampled_from(["truncated", "appended", "emptied"]))
    changed = {
        "truncated": whole[: data.draw(st.integers(0, len(whole) - 1))],
        "appended": whole + data.draw(st.sampled_from([b"\n", b" ", b"\0", whole])),
        "emptied": b"",
    }[how]
    report = edited(objects, **{name: changed})
    assert not report.ok
    assert named(report, name)


@pytest.mark.parametrize("change", ["deleted", "renamed"])
def test_every_missing_or_renamed_object_is_caught(objects: Objects, change: str) -> None:
    for name in objects:
        if is_pointer(name):
            continue
        other = f"{name}.bak"
        report = edited(objects, **{name: None}, **({other: objects[name]} if change == "renamed" else {}))
        folder = posixpath.dirname(name)
        assert not report.ok, name
        if is_manifest(name) or is_marker(name):
            assert any(posixpath.dirname(p.object) == folder for p in report.problems), name
        else:
            assert named(report, name), name
        if change == "renamed" and not is_manifest(name):
            assert named(report, other)


@shared
@given(
    data=st.data(),
    base=st.sampled_from(
        ["extra", "part.parquet", "a/b/c.csv", "latest.json", "_FAILURE_a1", "_manifest.json", "SUCCESS", "_SUCCESS",
         "manifest_00000101_000000.json", "manifest_99991231_235959.json", "sub/_SUCCESS", "sub/_manifest.json"]
    ),
    copied=st.booleans(),
)  # fmt: skip
def test_every_extra_object_in_a_delivery_is_named(
    objects: Objects, data: st.DataObject, base: str, copied: bool
) -> None:
    manifest = data.draw(st.sampled_from(manifests(objects)))
    name = f"{posixpath.dirname(manifest)}/{base}"
    if name in objects:
        return
    report = edited(objects, **{name: objects[manifest] if copied else b"anything"})
    assert not report.ok
    # A copied manifest in a folder below is a delivery of its own, which stands there twice.
    assert named(report, name) or posixpath.dirname(name) in {p.object for p in report.problems}


@shared
@given(data=st.data())
def test_two_objects_that_changed_places_are_named(objects: Objects, data: st.DataObject) -> None:
    first = data.draw(st.sampled_from(sorted(objects)))
    second = data.draw(st.sampled_from(sorted(n for n in objects if objects[n] != objects[first])))
    report = edited(objects, **{first: objects[second], second: objects[first]})
    # Where the manifest is gone, nothing of its folder can be proven, and that is what is said.
    lost = tuple(posixpath.dirname(name) + "/" for name in (first, second) if is_manifest(name))
    for name in (first, second):
        assert named(report, name) or (name.startswith(lost) and not is_manifest(name))


# --- manifests and markers


def _rows(m: dict) -> None:
    m["rows"]["written"] += 1
    m["rows"]["read"] += 1


def _file_rows(m: dict) -> None:
    m["files"][0]["rows"] += 1


def _no_files(m: dict) -> None:
    m["files"] = []


def _twice(m: dict) -> None:
    m["files"] = m["files"] * 2


def _run(m: dict) -> None:
    m["run_id"] = "0" * 64


def _not_a_list(m: dict) -> None:
    m["files"] = {"name": 1}


def _odd_rows(m: dict) -> None:
    m["rows"] = None


def _odd_file(m: dict) -> None:
    m["files"][0] = {"name": "x"}


def _odd_time(m: dict) -> None:
    m["interval"]["start"] = "yesterday"


@pytest.mark.parametrize(
    "edit", [_rows, _file_rows, _no_files, _twice, _run, _not_a_list, _odd_rows, _odd_file, _odd_time]
)
def test_every_edit_of_a_manifest_is_caught(objects: Objects, edit) -> None:
    for name in manifests(objects):
        manifest = json.loads(objects[name])
        edit(manifest)
        report = edited(objects, **{name: canonical(manifest)})
        assert named(report, name)


def test_a_manifest_in_other_spacing_is_caught_even_if_the_marker_agrees(objects: Objects) -> None:
    for name in manifests(objects):
        manifest = json.loads(objects[name])
        for text in (json.dumps(manifest), json.dumps(manifest, indent=1), objects[name].decode() + "\n"):
            folder, base = posixpath.split(name)
            success = f"{folder}/{'_SUCCESS' if base == '_manifest.json' else 'SUCCESS'}"
            body = marker(base, text.encode(), manifest["rows"]["written"], manifest["export_timestamp"])
            report = edited(objects, **{name: text.encode(), success: canonical(body)})
            assert (name, "is not in canonical form: it was changed") in {
                (p.object, p.problem) for p in report.problems
            }


NO_DOCUMENT = {
    "nested": b"[" * 900 + b"]" * 900,
    "half a pair": b'"\\ud800"',
    "a half as a key": b'{"\\ud800":1}',
    "a great number": b"9" * 4_000,
    "no number": b"1e999",
}


@pytest.mark.parametrize("field", ["approvals", "project", "reason", "more"])
@pytest.mark.parametrize("value", NO_DOCUMENT.values(), ids=NO_DOCUMENT)
def test_a_manifest_without_a_canonical_form_is_damaged_and_the_others_are_proven(
    objects: Objects, field: str, value: bytes
) -> None:
    name, *others = manifests(objects)
    document = json.dumps({**json.loads(objects[name]), field: "<here>"}).encode()
    report = edited(objects, **{name: document.replace(b'"<here>"', value)})
    assert (name, "is damaged: not a manifest") in {(p.object, p.problem) for p in report.problems}
    assert report.deliveries == len(others)


@pytest.mark.parametrize("marker", NO_DOCUMENT.values(), ids=NO_DOCUMENT)
def test_a_second_marker_of_any_kind_is_named(objects: Objects, marker: bytes) -> None:
    folder = posixpath.dirname(manifests(objects)[0])
    for base in ("_SUCCESS", "SUCCESS"):
        assert named(edited(objects, **{f"{folder}/{base}": marker}), f"{folder}/{base}")


@pytest.mark.parametrize(
    "damage", [b"[]", b"null", b"{}", b'{"rows":NaN}', b"\xff", b"[" * 100_000, b'{"files":[],"rows":{}}']
)
def test_damage_of_any_kind_is_a_problem_and_not_a_crash(objects: Objects, damage: bytes) -> None:
    for name in objects:
        if is_manifest(name) or is_marker(name) or is_pointer(name):
            assert named(edited(objects, **{name: damage}), name)


def test_an_edited_marker_is_caught(objects: Objects) -> None:
    for name in filter(is_marker, objects):
        body = json.loads(objects[name])
        for change in ({"row_count": -1}, {"manifest_sha256": "0" * 64}, {"status": "FAILURE"}, {"more": 1}):
            assert named(edited(objects, **{name: canonical({**body, **change})}), name)
        assert named(edited(objects, **{name: json.dumps(body).encode()}), name)


# --- whole folders


def test_a_copied_delivery_is_caught_since_it_doubles_the_rows(objects: Objects) -> None:
    for name in manifests(objects):
        folder = posixpath.dirname(name)
        for copy in (f"{folder}-copy", f"0/{folder}", f"{folder}/copy"):
            twins = {copy + n[len(folder) :]: d for n, d in objects.items() if n.startswith(folder + "/")}
            report = edited(objects, **twins)
            assert [
                p for p in report.problems if p.object in (folder, copy) and "is the same run as" in p.problem
            ]


def test_folders_without_a_manifest_and_failure_markers_are_only_mentioned(objects: Objects) -> None:
    name = manifests(objects)[0]
    orphan = posixpath.dirname(name)[:-1] + "7"
    report = edited(
        objects,
        **{f"{orphan}/part.parquet": b"1", f"{orphan}/x/part.parquet": b"1", f"{orphan}/_FAILURE_a7": b"{}"},
    )
    assert report.ok
    assert len(report.notes) == 3
    assert all(orphan in note for note in report.notes)
    assert report.rows == prove(store_of(objects)).rows


def test_an_empty_place_is_not_proven() -> None:
    report = prove(MemoryStore())
    assert [(p.object, p.problem) for p in report.problems] == [(".", "no delivery found here")]
    assert report.deliveries == 0


def test_a_consistent_rewrite_of_everything_is_not_caught_and_the_report_says_unsigned(
    objects: Objects,
) -> None:
    name = next(n for n in manifests(objects) if json.loads(objects[n])["files"][0]["rows"])
    folder, base = posixpath.split(name)
    manifest = json.loads(objects[name])
    file = manifest["files"][0]
    forged = b"forged" * 10
    file.update(bytes=len(forged), sha256=hashlib.sha256(forged).hexdigest())
    data = canonical(manifest)
    success = marker(base, data, manifest["rows"]["written"], manifest["export_timestamp"])
    changes = {
        name: data,
        f"{folder}/{file['name']}": forged,
        f"{folder}/{'_SUCCESS' if base == '_manifest.json' else 'SUCCESS'}": canonical(success),
    }
    pointers = {n: json.loads(objects[n]) for n in objects if is_pointer(n)}
    for pointer, body in pointers.items():
        if body["run_id"] == manifest["run_id"]:
            changes[pointer] = canonical({**body, "sha256": hashlib.sha256(data).hexdigest()})
    report = edited(objects, **changes)
    assert report.record()["problems"] == []
    assert report.signed is False


# --- pointers


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"manifest": "../nowhere/_manifest.json"}, "not there"),
        ({"manifest": "../../../../../../etc/_manifest.json"}, "no manifest under"),
        ({"manifest": "/etc/_manifest.json"}, "no manifest under"),
        ({"manifest": "latest.json"}, "no manifest under"),
        ({"manifest": "a\0b/_manifest.json"}, "no manifest under"),
        ({"manifest": 7}, "damaged"),
        ({"sha256": "0" * 64}, "not the manifest that it names"),
        ({"run_id": "0" * 64}, "says other"),
        ({"revision": 9}, "says other"),
        ({"tenant": "somebody"}, "says other"),
        ({"more": 1}, "damaged"),
        (
            {"interval": {"start": "2030-01-01T00:00:00Z", "end": "2031-01-01T00:00:00Z", "more": 1}},
            "damaged",
        ),
        ({"interval": {"start": "2030-01-01T00:00:00Z", "end": "2031-01-01T00:00:00Z"}}, "says other"),
    ],
)
def test_every_edit_of_a_pointer_is_caught(pointed: Objects, change: dict, told: str) -> None:
    for name in filter(is_pointer, pointed):
        report = edited(pointed, **{name: canonical({**json.loads(pointed[name]), **change})})
        assert [p.object for p in report.problems] == [name]
        assert told in report.problems[0].problem


def test_a_pointer_to_another_delivery_is_caught_however_consistent(pointed: Objects) -> None:
    for name in filter(is_pointer, pointed):
        body = json.loads(pointed[name])
        for other in manifests(pointed):
            manifest = json.loads(pointed[other])
            if manifest["run_id"] == body["run_id"]:
                continue
            path = posixpath.relpath(other, posixpath.dirname(name))
            sha = hashlib.sha256(pointed[other]).hexdigest()
            forged = {**body, "manifest": path, "sha256": sha}
            assert named(edited(pointed, **{name: canonical(forged)}), name)
            if (manifest["export"], manifest["tenant"]) == (body["export"], body["tenant"]):
                forged |= {key: manifest[key] for key in ("run_id", "revision", "interval")}
                report = edited(pointed, **{name: canonical(forged)})
                assert [p.object for p in report.problems] == [name]
                assert "is newer" in report.problems[0].problem


def test_a_pointer_whose_delivery_is_gone_is_caught(pointed: Objects) -> None:
    for name in filter(is_pointer, pointed):
        target = posixpath.normpath(f"{posixpath.dirname(name)}/{json.loads(pointed[name])['manifest']}")
        folder = posixpath.dirname(target) + "/"
        report = edited(pointed, **{n: None for n in pointed if n.startswith(folder)})
        assert [p.object for p in report.problems] == [name]


def test_full_refreshes_whose_pointer_is_gone_are_caught(pointed: Objects) -> None:
    for name in filter(is_pointer, pointed):
        report = edited(pointed, **{name: None})
        assert [p.object for p in report.problems] == [name]
        beside = posixpath.dirname(posixpath.dirname(name))
        inside = {n.removeprefix(f"{beside}/"): d for n, d in pointed.items() if n.startswith(f"{beside}/")}
        assert prove(store_of(inside)).ok
        pointer = inside.pop(name.removeprefix(f"{beside}/"))
        assert pointer
        assert not prove(store_of(inside)).ok


def test_one_full_refresh_alone_passes_and_its_pointer_is_mentioned(pointed: Objects) -> None:
    for name in manifests(pointed):
        if json.loads(pointed[name])["metadata"]["export_type"] == "full_refresh":
            folder = posixpath.dirname(name) + "/"
            report = prove(
                store_of({n.removeprefix(folder): d for n, d in pointed.items() if n.startswith(folder)})
            )
            assert report.ok
            assert report.notes == [".: a full refresh, and its pointer is not here"]


@pytest.mark.parametrize("inside", ["_iceberg", "region=1/_iceberg", "_iceberg/deeper"])
def test_the_name_of_tables_hides_nothing_in_a_delivery(
    objects: Objects, inside: str, tmp_path: Path
) -> None:
    for manifest in manifests(objects):
        folder = posixpath.dirname(manifest)
        report = edited(objects, **{f"{folder}/{inside}/part.parquet": b"x"})
        assert [(p.object, p.problem) for p in report.problems] == [
            (f"{folder}/{inside}/part.parquet", "is not listed in the manifest")
        ]
    alone = {n.removeprefix(f"{folder}/"): data for n, data in objects.items() if n.startswith(f"{folder}/")}
    told = edited(alone, **{f"{inside}/part.parquet": b"x"})
    assert [p.object for p in told.problems] == [f"{inside}/part.parquet"]


def test_a_delivery_below_a_folder_that_is_called_like_that_of_tables_is_proven(appended: Objects) -> None:
    moved = {f"archive/_iceberg/{name}": data for name, data in appended.items()}
    assert prove(store_of(moved)).deliveries == len(manifests(appended))
    name = next(n for n in moved if n.endswith((".parquet", ".jsonl", ".jsonl.gz")))
    assert named(edited(moved, **{name: b""}), name)


def test_the_tables_at_the_root_of_a_store_are_left_to_their_catalogue(objects: Objects) -> None:
    report = edited(objects, **{"_iceberg/shop/orders/metadata/v1.metadata.json": b"{}"})
    assert report.ok
    assert report.notes == []


# --- from outside


def test_the_recipients_verify_proves_a_folder_and_one_delivery_of_it(
    objects: Objects, tmp_path: Path
) -> None:
    lay_out(objects, tmp_path)
    assert verify(str(tmp_path)).ok
    assert verify(f"file://{tmp_path}", deep=True).ok
    name = next(n for n in objects if n.endswith((".parquet", ".jsonl", ".jsonl.gz")))
    alone = next(posixpath.dirname(m) for m in manifests(objects) if name.startswith(posixpath.dirname(m)))
    assert verify(str(tmp_path / alone), deep=True).deliveries == 1
    (tmp_path / name).write_bytes(b"")
    report = verify(str(tmp_path / alone))
    assert [p.object for p in report.problems] == [posixpath.relpath(name, alone)]


def test_what_a_local_store_hides_in_a_delivery_is_named(objects: Objects, tmp_path: Path) -> None:
    lay_out(objects, tmp_path / "lake")
    folder = posixpath.dirname(manifests(objects)[0])
    here = tmp_path / "lake" / folder
    (here / ".lading-tmp-17-0123456789abcdef").write_bytes(b"1")
    report = verify(str(tmp_path / "lake"))
    assert report.ok
    assert [note.partition(":")[0] for note in report.notes] == [f"{folder}/.lading-tmp-17-0123456789abcdef"]
    (here / ".lading-tmp-more.jsonl").write_bytes(b"1")
    (here / ".lading-tmp-folder").mkdir()
    (here / ".lading-tmp-folder" / "part.jsonl").write_bytes(b"1")
    (here / "link").symlink_to(tmp_path)
    (here / "dangling").symlink_to("nowhere")
    assert [(p.object, p.problem) for p in verify(str(tmp_path / "lake")).problems] == [
        (f"{folder}/dangling", LINK),
        (f"{folder}/link", LINK),
        (f"{folder}/.lading-tmp-folder/part.jsonl", "is not listed in the manifest"),
        (f"{folder}/.lading-tmp-more.jsonl", "is not listed in the manifest"),
    ]


def test_every_link_below_what_is_looked_at_is_named(objects: Objects, tmp_path: Path) -> None:
    """A folder's would hide its deliveries, and a file's shows something else tomorrow."""
    lake = tmp_path / "lake"
    lay_out(objects, lake)
    folder = posixpath.dirname(manifests(objects)[0])
    (lake / folder).rename(tmp_path / "kept")
    (lake / folder).symlink_to(tmp_path / "kept")
    data = next(n for n in objects if n.endswith((".parquet", ".jsonl", ".jsonl.gz")) and folder not in n)
    (lake / data).rename(tmp_path / "data")
    (lake / data).symlink_to(tmp_path / "data")
    (lake / "above").symlink_to("nowhere")
    (lake / ".lading-tmp-17-0123456789abcdef").symlink_to(tmp_path / "kept")
    told = {p.object for p in verify(str(lake), deep=True).problems if p.problem == LINK}
    assert told == {folder, data, "above", ".lading-tmp-17-0123456789abcdef"}


def test_the_place_that_is_named_may_be_a_link_itself(objects: Objects, tmp_path: Path) -> None:
    lay_out(objects, tmp_path / "lake")
    (tmp_path / "here").symlink_to(tmp_path / "lake")
    assert verify(str(tmp_path / "here")).ok
