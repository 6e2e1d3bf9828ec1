"""What becomes of a bundle on its way is caught, whoever puts its sum and its marker right again."""

# S3
from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from delivered import bundled
from typer.testing import CliRunner

from lading import Project, files, verify
from lading.archive import Member, header, parse, placed, trailer
from lading.errors import InvalidProject
from lading.manifest import canonical

DATA = "data/region=north/"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = bundled(tmp_path_factory.mktemp("bundled") / "shop")
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    return root


@pytest.fixture(scope="module")
def original(root: Path) -> bytes:
    return min((root / "lake").rglob("*.zip")).read_bytes()


@pytest.fixture
def place(root: Path, tmp_path: Path) -> Path:
    """The folder of one bundle, to be tampered with."""
    folder = min((root / "lake").rglob("*.zip")).parent
    copy = tmp_path / folder.name
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def bundle_in(folder: Path) -> Path:
    return next(folder.glob("*.zip"))


def replace(folder: Path, data: bytes) -> None:
    """Puts other bytes in the bundle's place, and its sum and its marker right."""
    bundle, marker = bundle_in(folder), folder / "_SUCCESS"
    bundle.write_bytes(data)
    sha = hashlib.sha256(data).hexdigest()
    (folder / f"{bundle.name}.sha256").write_text(f"{sha}  {bundle.name}\n")
    marker.write_bytes(canonical({**json.loads(marker.read_bytes()), "bundle_sha256": sha}))


def members_of(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def made(members: list[tuple[str, bytes]]) -> bytes:
    """An archive as Lading makes it, of anything."""
    told = [Member(name, len(body), zlib.crc32(body)) for name, body in members]
    pieces = [header(member) + body for member, (_, body) in zip(told, members, strict=True)]
    return b"".join([*pieces, *trailer(told)])


def problems(place: Path, key: Path | None = None) -> list[str]:
    return [f"{p.object}: {p.problem}" for p in verify(str(place), key=str(key) if key else None).problems]


def test_bundles_are_proven_in_a_place_and_one_by_one(root: Path) -> None:
    for where in (root / "lake", bundle_in(next((root / "lake").rglob("*.zip")).parent)):
        report = verify(str(where), deep=True, key=str(root / "ops/signers"))
        assert report.record()["problems"] == []
        assert report.signed
        assert report.notes == []
    assert verify(str(root / "lake")).rows == 40
    assert verify(str(root / "lake")).deliveries == 4


def test_what_stands_there_before_it_is_published_is_no_failure(place: Path) -> None:
    for name in ("_SUCCESS", f"{bundle_in(place).name}.sha256"):
        (place / name).unlink()
    report = verify(str(place))
    assert problems(place) == [f"{place}: no delivery found here"]
    assert report.notes == [".: 1 object without a manifest; no part of a delivery"]


def test_what_was_unpacked_is_no_delivery_and_its_reader_is_told_how_to_check_it(
    place: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(bundle_in(place)) as archive:
        archive.extractall(tmp_path / "unpacked")
    report = verify(str(tmp_path / "unpacked"))
    assert [problem.problem for problem in report.problems] == ["no delivery found here"]
    assert report.notes[0] == (
        ".: what was in a bundle: prove the bundle itself, or here sha256sum --check SHA256SUMS"
    )


def test_an_archive_made_again_of_the_same_members_is_the_same(original: bytes) -> None:
    assert made(members_of(original)) == original


def without(name: str) -> Callable[[bytes], bytes]:
    return lambda data: made([(n, b) for n, b in members_of(data) if not n.startswith(name)])


def with_more(name: str, body: bytes = b"x") -> Callable[[bytes], bytes]:
    return lambda data: made([*members_of(data), (name, body)])


def changed(name: str) -> Callable[[bytes], bytes]:
    """The last byte of a member, its CRC-32 as it should be."""
    return lambda data: made(
        [(n, b[:-1] + bytes([b[-1] ^ 1]) if n.startswith(name) else b) for n, b in members_of(data)]
    )


def at_offset(find: bytes, offset: int, new: bytes) -> Callable[[bytes], bytes]:
    """Some bytes behind the first place of others."""

    def change(data: bytes) -> bytes:
        at = data.index(find) + offset
        return data[:at] + new + data[at + len(new) :]

    return change


def between(data: bytes) -> bytes:
    """Bytes between two members, with a directory that knows of them."""
    found = parse(lambda o, n: data[o : o + n], len(data))
    first, second = found[0], found[1]
    gap = first.offset + first.member.size
    end = data.index(b"PK\1\2")
    directory, at = bytearray(data[end:]), 0
    for each in found:
        here = each.offset - len(header(each.member))
        struct.pack_into("<I", directory, at + 42, here + (4 if each.offset >= second.offset else 0))
        at += 46 + len(each.member.name)
    struct.pack_into("<I", directory, at + 16, end + 4)
    return data[:gap] + b"evil" + data[gap:end] + bytes(directory)


def repacked(data: bytes) -> bytes:
    """By another program, compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members_of(data):
            archive.writestr(name, body)
    return out.getvalue()


def twice(data: bytes) -> bytes:
    members = members_of(data)
    return made([*members, members[-1]])


def commented(data: bytes) -> bytes:
    return data[:-2] + b"\4\0evil"


TAMPERED = [
    (without("data/region=north"), "is missing"),
    (without("README.txt"), "README.txt: is missing"),
    (without("manifest.json"), "manifest.json: is missing: it is no bundle"),
    (without("manifest.json.sig"), "manifest.json.sig: is missing: manifest.json says that it is signed"),
    (changed(DATA), "is not what was delivered: its SHA-256 differs from the manifest's"),
    (changed("README.txt"), "README.txt: is not what was delivered"),
    (changed("manifest.json.sig"), "manifest.json.sig: "),
    (with_more("evil.exe"), "evil.exe: is not listed in the manifest"),
    (with_more("../evil"), "'../evil' is no safe name"),
    (with_more("data/../../evil"), "is no safe name"),
    (with_more("/etc/evil"), "'/etc/evil' is no safe name"),
    (with_more("C:/evil"), "'C:/evil' is no safe name"),
    (with_more("data\\evil"), "is no safe name"),
    (with_more("evil/"), "is no safe name"),
    (with_more("readme.TXT"), "README.txt and readme.TXT are one file where case does not count"),
    (with_more("README.txt/evil"), "README.txt is a file, and the folder of README.txt/evil"),
    (twice, "is in it twice"),
    (lambda data: b"#!/bin/sh\n" + data, "holds bytes that belong to none of its members"),
    (lambda data: data + b"evil", "does not end as a ZIP file does"),
    (lambda data: data[:-10], "does not end as a ZIP file does"),
    (lambda data: data[: len(data) // 2], "does not end as a ZIP file does"),
    (commented, "does not end as a ZIP file does"),
    (between, "holds bytes that belong to none of its members"),
    (repacked, "compressed or encrypted"),
    (at_offset(b"PK\3\4", 10, b"\1\2"), "says two things of README.txt"),
    (at_offset(b"PK\3\4", 30, b"EVIL"), "says two things of README.txt"),
    (at_offset(b"PK\1\2", 12, b"\1\2"), "its directory was changed"),
    (at_offset(b"PK\1\2", 38, b"\xff\xff\xff\xff"), "its directory was changed"),
    (at_offset(b"PK\1\2", 16, b"\0\0\0\0"), "says two things of README.txt"),
    (at_offset(b"PK\5\6", 8, b"\1\0\1\0"), "says that it has 1 members"),
    (lambda data: b"", "does not end as a ZIP file does"),
]


@pytest.mark.parametrize(("tamper", "told"), TAMPERED)
def test_an_archive_that_was_tampered_with_is_caught_and_named(
    place: Path, original: bytes, tamper: Callable[[bytes], bytes], told: str
) -> None:
    data = tamper(original)
    assert data != original
    replace(place, data)
    bundle = bundle_in(place)
    for where in (place, bundle):
        found = problems(where)
        assert any(told in problem for problem in found), found
        assert all(bundle.name in problem or "_SUCCESS" in problem for problem in found), found


@pytest.mark.parametrize("value", [b"[" * 900 + b"]" * 900, b'"\\ud800"', b"9" * 4_000, b"1e999"])
def test_a_bundle_whose_manifest_has_no_canonical_form_is_damaged(place: Path, value: bytes) -> None:
    members = members_of(bundle_in(place).read_bytes())
    manifest = json.loads(dict(members)["manifest.json"])
    body = json.dumps({**manifest, "approvals": "<here>"}).encode().replace(b'"<here>"', value)
    replace(place, made([(n, body if n == "manifest.json" else b) for n, b in members]))
    told = f"{bundle_in(place).name}/manifest.json: is damaged: not a manifest"
    assert problems(place) == [told]
    assert [f"{p.object}: {p.problem}" for p in verify(str(bundle_in(place))).problems] == [told]


def test_a_wrong_crc_is_told_apart_from_a_wrong_file(place: Path, original: bytes) -> None:
    members = members_of(original)
    told = [Member(n, len(b), zlib.crc32(b) ^ (n == "README.txt")) for n, b in members]
    pieces = [header(member) + body for member, (_, body) in zip(told, members, strict=True)]
    replace(place, b"".join([*pieces, *trailer(told)]))
    assert problems(place) == [
        f"{bundle_in(place).name}/README.txt: is not what the archive says of it: its CRC-32 differs"
    ]


def test_a_bundle_of_others_with_a_signature_of_their_own_is_not_trusted(
    place: Path, original: bytes, tmp_path: Path, root: Path
) -> None:
    other = bundled(tmp_path / "other")
    key = other / "ops/signers"
    assert any("manifest.json.sig" in problem for problem in problems(place, key))
    assert problems(place, root / "ops/signers") == []


@pytest.mark.parametrize("name", ["{}", "{}.sha256", "_SUCCESS"])
def test_what_stands_beside_is_held_against_it(place: Path, name: str) -> None:
    path = place / name.format(bundle_in(place).name)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + b"x\n")
    assert problems(place)
    path.unlink()
    assert problems(place)
    path.write_bytes(whole)
    assert problems(place) == []


def test_what_does_not_belong_beside_it_is_named(place: Path) -> None:
    (place / "_parts/data").mkdir(parents=True)
    (place / "_parts/data/x.parquet").write_bytes(b"x")
    assert problems(place) == [f"_parts/data/x.parquet: does not belong beside {bundle_in(place).name}"]


def test_a_bundle_in_the_place_of_another_tenant_is_named(root: Path, tmp_path: Path) -> None:
    lake = root / "lake/test/shop/orders"
    for tenant in ("a", "b"):
        for source in lake.glob("tenant=a/**/*"):
            if source.is_file():
                target = tmp_path / f"tenant={tenant}" / source.relative_to(lake / "tenant=a")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    assert any("stands in another place" in problem for problem in problems(tmp_path))
    assert any("is the same run as" in problem for problem in problems(tmp_path))


def test_a_bundle_under_the_name_of_another_is_named(root: Path, tmp_path: Path) -> None:
    """Another tenant's, or another month's, whole and signed, in the place of the one that was asked for."""
    key = str(root / "ops/signers")
    first, *others = sorted((root / "lake").rglob("*.zip"))
    for other in others:
        forged = tmp_path / first.name
        forged.write_bytes(other.read_bytes())
        report = verify(str(forged), key=key, deep=True)
        assert [(p.object, p.problem) for p in report.problems] == [
            (first.name, f"has the name of another bundle: what is in it was delivered as {other.name}")
        ]
        assert not report.signed


@pytest.mark.parametrize("preset", ["lake", "dated", "svc002"])
def test_an_older_revision_in_the_place_of_the_newer_is_named(preset: str, tmp_path: Path) -> None:
    root = bundled(tmp_path / "shop", layout={"preset": preset})
    month = {"start": datetime(2024, 1, 1, tzinfo=UTC), "end": datetime(2024, 2, 1, tzinfo=UTC)}
    for asked in ({}, {"revise": True, "reason": "again"}):
        results = Project.load(root).run("to_lake", tenants=["a"], **month, **asked)
        assert {result.status for result in results} == {"succeeded"}
    told = {path: verify(str(path)).delivery for path in (root / "lake").rglob("*.zip")}
    (newer,) = [path for path, delivery in told.items() if delivery and delivery["revision"] == 1]
    newer.write_bytes(next(path for path in told if path != newer).read_bytes())
    report = verify(str(newer))
    assert not report.ok
    # By what it is told to be, wherever it stands: `svc002` gives both revisions one name.
    copy = tmp_path / newer.name
    copy.write_bytes(newer.read_bytes())
    report = verify(str(copy))
    assert report.ok == (preset == "svc002")
    assert report.delivery is not None
    assert report.delivery["revision"] == 0


def test_a_bundle_may_be_called_what_no_layout_calls_one(original: bytes, tmp_path: Path) -> None:
    for name in ("orders.zip", "2024-01 (1).zip"):
        (tmp_path / name).write_bytes(original)
        assert verify(str(tmp_path / name)).ok


def test_whom_a_bundle_is_for_can_be_asked(root: Path) -> None:
    bundle = min((root / "lake").rglob("*.zip"))
    assert verify(str(bundle), tenants=["a"]).ok
    assert "is for tenant 'a'" in verify(str(bundle), tenants=["b"]).problems[0].problem


def test_files_refuses_bundles_and_says_what_to_do(root: Path) -> None:
    with pytest.raises(InvalidProject, match=r"is a bundle, whose files lie inside of it\. .* unpack it"):
        files(str(root / "lake"))


def test_a_bundle_that_is_not_there_is_not_proven(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match=r"There is no file .*nothing\.zip\."):
        verify(str(tmp_path / "nothing.zip"))


def test_members_beyond_four_gigabytes_are_placed_and_found() -> None:
    """Their headers alone: what lies between is not looked at."""
    members = [Member("a", 5 << 30, 1), Member("b", 3, 2), Member("c", (1 << 32) - 1, 3), Member("d", 0, 0)]
    pieces: dict[int, bytes] = {}
    for each in placed(members):
        told = header(each.member)
        pieces[each.offset - len(told)] = told
    end = each.offset + each.member.size
    behind = b"".join(trailer(members))

    def read(offset: int, size: int) -> bytes:
        if offset >= end:
            return behind[offset - end : offset - end + size]
        return pieces[offset][:size] if offset in pieces else b"\0" * size

    assert [each.member for each in parse(read, end + len(behind))] == members


@pytest.mark.slow
def test_a_member_beyond_four_gigabytes_is_found_by_others(tmp_path: Path) -> None:
    """In a file with a hole in it, which takes no room."""
    size, crc = (4 << 30) + 12_345, 0
    for _ in range(size >> 20):
        crc = zlib.crc32(bytes(1 << 20), crc)
    members = [Member("big", size, zlib.crc32(bytes(12_345), crc)), Member("after", 3, zlib.crc32(b"abc"))]
    path = tmp_path / "large.zip"
    with path.open("wb") as file:
        file.write(header(members[0]))
        file.seek(size, io.SEEK_CUR)
        file.write(header(members[1]) + b"abc" + b"".join(trailer(members)))
    with zipfile.ZipFile(path) as archive:
        assert archive.read("after") == b"abc"
        assert archive.getinfo("big").file_size == size
    if shutil.which("unzip") is None:
        pytest.skip("unzip is not installed")
    told = subprocess.run(["unzip", "-p", str(path), "after"], check=True, capture_output=True)
    assert told.stdout == b"abc"


def test_more_members_than_sixteen_bits_count_are_read_by_others_too() -> None:
    members = [(f"data/{n}", b"") for n in range(70_000)]
    data = made(members)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == [name for name, _ in members]
    assert len(parse(lambda o, n: data[o : o + n], len(data))) == len(members)


def test_the_command_proves_one_bundle(root: Path) -> None:
    from lading.cli.app import app

    bundle = min((root / "lake").rglob("*.zip"))
    done = CliRunner().invoke(app, ["verify", str(bundle), "--deep", "--key", str(root / "ops/signers")])
    assert done.output.startswith("ok: 1 delivery, 3 files, 10 rows (signed)")
    which = (
        "it is: to_lake of shop in test, tenant a, 2024-01-01T00:00:00Z to 2024-02-01T00:00:00Z, revision 0"
    )
    assert which in done.output.splitlines()
    told = json.loads(CliRunner().invoke(app, ["verify", str(bundle), "--json"]).output)
    assert (told["delivery"]["tenant"], told["delivery"]["revision"]) == ("a", 0)
    assert told["delivery"]["interval"] == {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}
    assert (
        json.loads(CliRunner().invoke(app, ["verify", str(root / "lake"), "--json"]).output)["delivery"]
        is None
    )
