"""Whatever is done to an audit package, the verifier names it: a bare Python is all that it needs."""

# S4
from __future__ import annotations

import ast
import gzip
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packages import checkpoint, copied, folders, run_verifier, told

from lading import verify
from lading.evidence import verifier
from lading.evidence.signers import AllowedSigner
from lading.evidence.sshsig import CHECKPOINTS, MANIFESTS, PublicKey, armored, message
from lading.manifest import canonical, marker

RECORDS = "records.jsonl.gz"
MALLORY = Ed25519PrivateKey.from_private_bytes(b"mallory".ljust(32, b"."))
Lines = list[bytes]


def lines_in(package: Path) -> Lines:
    return gzip.decompress((package / RECORDS).read_bytes()).splitlines()


def put_lines(package: Path, lines: Lines) -> None:
    (package / RECORDS).write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0))


def chained(lines: Lines, seed: str) -> Lines:
    """The lines as a chain that holds: what whoever can compute a hash can do."""
    made, head = Lines(), seed
    for number, line in enumerate(lines, 1):
        record = line.partition(b'"record":')[2]
        made.append(b'{"n":%d,"previous":"%s","record":%s' % (number, head.encode(), record))
        head = hashlib.sha256(made[-1]).hexdigest()
    return made


def resealed(package: Path, *, sign: bool, **changes: object) -> None:
    """Files, sums, manifest, marker and checkpoint agree again, as whoever may write can make them; with ``sign`` under
    a key of their own."""
    data, lines = (package / RECORDS).read_bytes(), lines_in(package)
    head = (
        hashlib.sha256(lines[-1]).hexdigest() if lines else verifier.seed(str(checkpoint(package)["run_id"]))
    )
    manifest = json.loads((package / "_manifest.json").read_text())
    sums = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["files"][0].update(sums, rows=len(lines), head=head, checksum=f"sha256:{sums['sha256']}")
    manifest["rows"].update(written=len(lines), read=len(lines))
    (package / "_SHA256SUMS").write_text(f"{sums['sha256']}  {RECORDS}\n")
    for entry in manifest["sidecars"]:
        body = (package / entry["name"]).read_bytes()
        entry.update(bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
    key = PublicKey(MALLORY.public_key().public_bytes_raw())
    if sign:
        manifest["signature"]["key"] = key.fingerprint
    text = canonical(manifest)
    (package / "_manifest.json").write_bytes(text)
    success = marker("_manifest.json", text, len(lines), manifest["export_timestamp"])
    (package / "_SUCCESS").write_bytes(canonical(success))
    closing = {**checkpoint(package), "manifests": [hashlib.sha256(text).hexdigest()], **changes}
    closing["records"] = {
        **closing["records"],
        **sums,
        "count": len(lines),
        "last": len(lines) or None,
        "head": head,
    }
    if sign:
        closing["key"] = key.fingerprint
    final = canonical(closing)
    (package / "_checkpoint.json").write_bytes(final)
    for name, space, body in (("_manifest.json", MANIFESTS, text), ("_checkpoint.json", CHECKPOINTS, final)):
        if sign:
            (package / f"{name}.sig").write_bytes(armored(key, space, MALLORY.sign(message(space, body))))


def edited(line: bytes) -> bytes:
    return line.replace(b'"region":', b'"Region":')


def renumbered(line: bytes, number: int) -> bytes:
    return b'{"n":%d,%s' % (number, line.partition(b",")[2])


# What is done to the lines of ten records, and what is said of it.
LINES: dict[str, tuple[Callable[[Lines], Lines], str]] = {
    "the tail is cut": (lambda ls: ls[:7], "ends after record 7: records 8 to 10 were cut off"),
    "all are removed": (lambda ls: [], "ends after record 0: records 1 to 10 were cut off"),
    "one is removed": (lambda ls: ls[:3] + ls[4:], "record 4 is missing"),
    "several are removed": (lambda ls: [ls[0], *ls[3:5], *ls[6:]], "record 2-3, 6 is missing"),
    "the first is removed": (lambda ls: ls[1:], "record 1 is missing"),
    "one is edited": (
        lambda ls: [*ls[:4], edited(ls[4]), *ls[5:]],
        "record 5 is not the one that record 6 follows: it was changed",
    ),
    "the last is edited": (
        lambda ls: [*ls[:9], edited(ls[9])],
        "its last record, 10, is not the one that was sealed: it was changed",
    ),
    "two are swapped": (
        lambda ls: [*ls[:2], ls[3], ls[2], *ls[4:]],
        "record 3 stands behind record 4: records were re-ordered",
    ),
    "all are reversed": (lambda ls: ls[::-1], "record 9 stands behind record 10: records were re-ordered"),
    "two are swapped and renumbered": (
        lambda ls: [*ls[:2], renumbered(ls[3], 3), renumbered(ls[2], 4), *ls[4:]],
        "record 3 is not the one that record 4 follows: it was changed",
    ),
    "one is repeated": (lambda ls: [*ls[:5], ls[4], *ls[5:]], "record 5 stands there more than once"),
    "one is inserted": (
        lambda ls: [*ls[:5], edited(renumbered(ls[5], 6)), *ls[5:]],
        "record 6 stands there more than once",
    ),
    "one is added": (
        lambda ls: [*ls, chained([*ls, ls[0]], "")[-1]],
        "has 11 records where 10 were sealed: the others were added",
    ),
    "one is no record": (lambda ls: [*ls[:5], b"{}", *ls[6:]], "line 6 is no record"),
    "they are another run's": (
        lambda ls: chained(ls, "0" * 64),
        "record 1 is not the first record of this run",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LINES)
def test_what_is_done_to_records_is_named_and_found_by_lading_too(
    what: str, lake: Path, package: Path
) -> None:
    change, named = LINES[what]
    put_lines(package, change(lines_in(package)))
    assert f"{RECORDS}: {named}" in told(package)
    assert f"{RECORDS}: is not the file that was sealed: its size or SHA-256 differs" in told(package)
    assert not verify(str(lake)).ok


@pytest.mark.parametrize("what", LINES)
def test_a_forger_who_makes_everything_agree_is_caught_by_the_signature(
    what: str, lake: Path, package: Path, key: Path
) -> None:
    change, _ = LINES[what]
    seed = str(verifier.seed(str(checkpoint(package)["run_id"])))
    put_lines(package, chained(change(lines_in(package)), seed))
    resealed(package, sign=False)
    changed = "does not hold: it or {0} was changed"
    if what != "they are another run's":  # chained anew, these are the very records
        assert f"_checkpoint.json.sig: {changed.format('_checkpoint.json')}" in told(package)
        assert not verify(str(lake)).ok
    resealed(package, sign=True)
    # The records of one package agree with themselves; the trusted key, and the next package, tell.
    assert [t for t in told(package, key=key) if "none of the trusted keys" in t]
    assert [t for t in told(lake) if "does not follow package 1" in t]
    report = verify(str(lake), key=str(key))
    assert not report.ok
    assert not verify(str(lake)).ok


def test_a_forger_with_a_key_of_their_own_is_caught_only_by_who_knows_whose_keys_count(
    package: Path, key: Path
) -> None:
    put_lines(package, chained(lines_in(package)[:5], verifier.seed(str(checkpoint(package)["run_id"]))))
    resealed(package, sign=True)
    code, said = run_verifier(Path(verifier.__file__), package)
    assert (code, "whose key that is was not checked" in said) == (0, True)
    code, said = run_verifier(Path(verifier.__file__), package, "--key", key)
    assert (code, "none of the trusted keys" in said) == (1, True)


def test_how_many_records_there_are_to_be_costs_no_memory(package: Path) -> None:
    """Anybody can write a number: only a signature makes it one that was sealed."""
    most = 2**53 - 1
    replaced(package, "_checkpoint.json", '"count":10', f'"count":{most}')
    put_lines(package, lines_in(package)[1:])
    assert f"{RECORDS}: record 1, 11-{most} is missing" in told(package)
    assert "_checkpoint.json.sig: does not hold: it or _checkpoint.json was changed" in told(package)


def test_how_many_packages_are_missing_costs_no_memory(lake: Path) -> None:
    replaced(folders(lake, "a")[3], "_checkpoint.json", '"number":4', f'"number":{2**53 - 1}')
    assert f"a: package 4-{2**53 - 2} is missing" in told(lake)


@settings(max_examples=200, deadline=None)
@given(numbers=st.lists(st.integers(1, 14), max_size=20), count=st.integers(0, 12))
def test_what_is_missing_repeated_and_added_is_told_by_number(numbers: list[int], count: int) -> None:
    chain = verifier.Chain("0" * 64)
    for number in numbers:
        chain.line(b'{"n":%d,"previous":"%s","record":{}}' % (number, chain.head.encode()))
    if numbers == list(range(1, len(numbers) + 1)):
        return
    there = set(numbers)

    def of(ending: str) -> set[int]:
        said = [
            w.removeprefix("record ").removesuffix(ending)
            for w in chain.judge(count, "")
            if w.endswith(ending)
        ]
        runs = [run.split("-") for each in said for run in each.split(", ")]
        return {number for run in runs for number in range(int(run[0]), int(run[-1]) + 1)}

    assert of(" is missing") == set(range(1, count + 1)) - there
    assert of(" was not sealed: it was added") == {n for n in there if n > count}
    assert of(" stands there more than once") == {n for n in there if numbers.count(n) > 1}


def test_records_in_no_order_at_all_cost_no_memory() -> None:
    chain = verifier.Chain("0" * 64)
    for number in range(2 * 70_000, 0, -2):
        chain.line(b'{"n":%d,"previous":"%s","record":{}}' % (number, b"0" * 64))
    assert "its records are out of order in more than 65536 places" in chain.judge(10, "")


# --- gzip


def test_a_line_without_an_end_is_named_before_it_fills_the_memory(package: Path) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(1 << 20)
    data = b"".join([*(bomb.compress(block) for _ in range(1 << 10)), bomb.flush()])
    (package / RECORDS).write_bytes(data)
    code, said = run_verifier(Path(verifier.__file__), package, memory=400 << 20)
    assert (code, "Error" in said) == (1, False)
    assert f"{RECORDS}: has a line of more than {verifier.LONGEST} bytes, which no record has" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("_manifest.json", "_manifest.json: is missing"),
        ("_checkpoint.json", "_checkpoint.json: is missing"),
        ("_checkpoint.json.sig", "_checkpoint.json.sig: is missing"),
        ("_manifest.json.sig", "_manifest.json.sig: is missing"),
        ("_SUCCESS", "_SUCCESS: is missing"),
        ("_SHA256SUMS", "_SHA256SUMS: is missing"),
        (RECORDS, f"{RECORDS}: is missing"),
    ],
)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(name: str, said: str, package: Path) -> None:
    (package / name).unlink()
    os.mkfifo(package / name)
    code, out = run_verifier(Path(verifier.__file__), package)
    assert (code, said in out) == (1, True)
    assert not verify(str(package)).ok


def test_a_file_that_is_too_long_for_any_package_is_not_read(package: Path) -> None:
    with (package / "_SHA256SUMS").open("wb") as file:
        file.truncate(1 << 40)
    code, said = run_verifier(Path(verifier.__file__), package, memory=400 << 20)
    assert (code, "Error" in said, "_SHA256SUMS: is missing" in said) == (1, False, True)


@pytest.mark.parametrize("body", ["[]", "{}", '{"checkpoint_version":2}', "[" * 100_000])
def test_a_checkpoint_whose_signature_fails_is_told_whatever_else_fails(body: str, package: Path) -> None:
    (package / "_checkpoint.json").write_text(body)
    assert "_checkpoint.json.sig: does not hold: it or _checkpoint.json was changed" in told(package)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda data: data[:-9], "is cut off: its gzip stream does not end"),
        (lambda data: data[: len(data) // 2], "is cut off: its gzip stream does not end"),
        (lambda data: b"", "is cut off: its gzip stream does not end"),
        (lambda data: data + b"more", "has other bytes behind the end of its gzip stream"),
        (lambda data: data + data, "has a second gzip member behind the end of its gzip stream"),
        (lambda data: data[:-6] + b"......", "is damaged: it is no whole gzip stream"),
        (lambda data: gzip.decompress(data), "is damaged: it is no whole gzip stream"),
        (
            lambda data: gzip.compress(gzip.decompress(data)[:-1]),
            "is cut off: its last line has no end",
        ),
    ],
)
def test_a_gzip_file_that_is_not_one_whole_stream_is_named(
    damage: Callable[[bytes], bytes], named: str, package: Path
) -> None:
    file = package / RECORDS
    file.write_bytes(damage(file.read_bytes()))
    assert f"{RECORDS}: {named}" in told(package)


# --- the other files


def replaced(package: Path, name: str, old: str, new: str) -> None:
    text = (package / name).read_text()
    assert old in text
    (package / name).write_text(text.replace(old, new))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "the checkpoint is edited": (
        lambda p: replaced(p, "_checkpoint.json", '"count":10', '"count":9'),
        "_checkpoint.json.sig: does not hold: it or _checkpoint.json was changed",
    ),
    "the checkpoint is another JSON": (
        lambda p: (p / "_checkpoint.json").write_text("[]"),
        "_checkpoint.json: is no checkpoint, or was changed: no object",
    ),
    "the checkpoint is removed": (
        lambda p: (p / "_checkpoint.json").unlink(),
        "_checkpoint.json: is missing: nothing says what the package held",
    ),
    "its signature is removed": (lambda p: (p / "_checkpoint.json.sig").unlink(), "_checkpoint.json.sig: is missing"),
    "its signature is the manifest's": (
        lambda p: shutil.copy(p / "_manifest.json.sig", p / "_checkpoint.json.sig"),
        "_checkpoint.json.sig: is a signature for 'lading-manifest', not for lading-checkpoint",
    ),
    "the manifest is edited": (
        lambda p: replaced(p, "_manifest.json", '"written":10', '"written":11'),
        "_manifest.json: is not the one that the checkpoint was made over: one of the two was changed",
    ),
    "the manifest is removed": (lambda p: (p / "_manifest.json").unlink(), "_manifest.json: is missing"),
    "the manifest's signature is removed": (
        lambda p: (p / "_manifest.json.sig").unlink(),
        "_manifest.json.sig: is missing",
    ),
    "the marker is removed": (
        lambda p: (p / "_SUCCESS").unlink(),
        "_SUCCESS: is missing, or does not match _manifest.json",
    ),
    "the records are removed": (lambda p: (p / RECORDS).unlink(), f"{RECORDS}: is missing"),
    "evidence is removed": (lambda p: (p / "_evidence/signers").unlink(), "signers: is missing"),
    "evidence is edited": (
        lambda p: replaced(p, "_evidence/definition.json", "customer", "Customer"),
        "definition.json: is not the one that the manifest names",
    ),
    "evidence is added": (
        lambda p: (p / "_evidence/letter").write_text("all is well"),
        "letter: was added: the manifest does not list it",
    ),
    "something hides among compiled files": (
        lambda p: ((p / "_evidence/__pycache__").mkdir(), (p / "_evidence/__pycache__/letter").write_text("well")),
        "letter: was added: the manifest does not list it",
    ),
    "something else is compiled": (
        lambda p: ((p / "__pycache__").mkdir(), (p / "__pycache__/json.cpython-312.pyc").write_bytes(b"x")),
        "json.cpython-312.pyc: was added: the manifest does not list it",
    ),
    "the sums are edited": (
        lambda p: replaced(p, "_SHA256SUMS", RECORDS, "others"),
        "_SHA256SUMS: was changed: its size or SHA-256 is not the manifest's",
    ),
    "the verifier is replaced": (
        lambda p: (p / "verify.py").write_text("print('all holds')\n"),
        "verify.py: was changed: its size or SHA-256 is not the manifest's",
    ),
    "a file is a link": (
        lambda p: ((p / "_SUCCESS").rename(p.parent / "kept"), (p / "_SUCCESS").symlink_to(p.parent / "kept")),
        "_SUCCESS: is a link: what it shows may change",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_what_is_done_to_other_files_is_named_and_found_by_lading_too(
    what: str, lake: Path, package: Path
) -> None:
    change, named = FILES[what]
    change(package)
    assert named in told(package)
    assert not verify(str(lake)).ok


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("approvals", [3]),
        ("approvals", [{"sha256": "../../.."}]),
        ("contract", []),
        ("sidecars", [{}]),
        ("sidecars", [{"name": "a\0b", "bytes": 1, "sha256": ""}]),
        ("sidecars", [{"name": "../../verify.py", "bytes": 1, "sha256": ""}]),
        ("files", 3),
        ("files", [{"name": RECORDS}]),
        ("rows", []),
        ("signature", "x"),
        ("signature", {"key": ["x"]}),
        ("interval", None),
    ],
)
def test_a_manifest_of_any_shape_is_named_and_breaks_nothing(
    field: str, value: object, package: Path
) -> None:
    manifest = json.loads((package / "_manifest.json").read_text())
    (package / "_manifest.json").write_bytes(canonical({**manifest, field: value}))
    named = "is not the one that the checkpoint was made over: one of the two was changed"
    assert f"_manifest.json: {named}" in told(package)
    assert not verify(str(package)).ok


@pytest.mark.parametrize("at", ["the package", "a folder above", "the records", "something else"])
def test_every_link_below_what_is_looked_at_is_named(at: str, lake: Path, tmp_path: Path) -> None:
    first = folders(lake, "a")[0]
    link = {
        "the package": first,
        "a folder above": first.parent,
        "the records": first / RECORDS,
        "something else": lake / "letter",
    }[at]
    if link.exists():
        link.rename(tmp_path / "kept")
    link.symlink_to(tmp_path / "kept")
    assert f"{link.name}: is a link: what it shows may change" in told(lake)
    found = [(p.object, p.problem) for p in verify(str(lake)).problems]
    assert (str(link.relative_to(lake)), "is a link: what it shows may change") in found


def test_the_place_that_is_named_may_be_a_link_itself(lake: Path, package: Path, tmp_path: Path) -> None:
    for number, place in enumerate((lake, package)):
        (tmp_path / f"here{number}").symlink_to(place)
        assert told(tmp_path / f"here{number}") == []


NO_DOCUMENT = {
    "nested": "[" * 900 + "]" * 900,
    "half a pair": r'"\ud800"',
    "a great number": "9" * 4_000,
    "no number": "1e999",
}


@pytest.mark.parametrize("value", NO_DOCUMENT.values(), ids=NO_DOCUMENT)
@pytest.mark.parametrize(
    ("name", "old", "said"),
    [
        ("_checkpoint.json", '"run_id":"', "is no checkpoint, or was changed"),
        ("_checkpoint.json", '"number":1', "is no checkpoint, or was changed"),
        ("_manifest.json", '"approvals":[]', "is damaged: not a manifest"),
        ("_manifest.json", '"written":10', "is damaged: not a manifest"),
    ],
)
def test_a_document_without_a_canonical_form_is_damaged_in_both_verifiers(
    name: str, old: str, said: str, value: str, lake: Path, package: Path
) -> None:
    text = (package / name).read_text()
    if old.endswith(':"'):
        old += json.loads(text)["run_id"] + '"'
    replaced(package, name, old, f"{old.partition(':')[0]}:{value}")
    others = len(folders(lake, "b")) + 3
    assert [t for t in told(lake) if t.startswith(f"{name}: {said}")]
    report = verify(str(lake))
    assert [p for p in report.problems if p.object.endswith(name) and "is damaged" in p.problem]
    assert report.deliveries >= others


def test_a_name_cannot_forge_what_is_said(package: Path) -> None:
    (package / "x\nall holds, signed by a trusted key\x1b[2J").write_text("")
    code, said = run_verifier(Path(verifier.__file__), package)
    assert code == 1
    assert not [line for line in said.splitlines() if line.startswith("all holds")]
    assert "\x1b" not in said


# --- several packages


def test_packages_are_put_in_order_whatever_the_order_in_which_they_are_given(lake: Path, key: Path) -> None:
    mine = folders(lake, "a")
    assert [checkpoint(each)["number"] for each in mine] == [1, 2, 3, 4]
    assert told(mine[2], mine[0], mine[3], mine[1], key=key) == []
    assert told(lake, key=key) == []


def test_a_package_that_is_missing_in_the_middle_is_named(lake: Path) -> None:
    shutil.rmtree(folders(lake, "a")[1])
    assert told(lake) == ["a: package 2 is missing"]
    assert [p.problem for p in verify(str(lake)).problems] == ["package 2 is missing"]


def newest(lake: Path, tenant: str) -> tuple[int, str]:
    """What the sender would name as the last package."""
    mine = folders(lake, tenant)
    return len(mine), hashlib.sha256((mine[-1] / "_checkpoint.json").read_bytes()).hexdigest()


def test_that_the_last_package_was_removed_shows_against_what_the_sender_names(lake: Path) -> None:
    mine = folders(lake, "a")
    last = newest(lake, "a")
    assert told(*mine, last=[last]) == []
    assert told(*mine[:3]) == []
    code, said = run_verifier(Path(verifier.__file__), *mine[:3])
    assert (code, "whether package 3 is the last one cannot be told" in said) == (0, True)
    assert told(*mine[:3], last=[last]) == [
        "a: ends with package 3, and the last one is 4: packages were removed"
    ]
    assert told(*mine, last=[(4, "0" * 64)]) == ["a: package 4 is not the last one that the sender names"]
    third = hashlib.sha256((mine[2] / "_checkpoint.json").read_bytes()).hexdigest()
    assert told(*mine, last=[(3, third)]) == [
        "a: goes on to package 4, and the last one that the sender names is 3: ask for the newest number again"
    ]
    assert told(*mine, last=[(3, "0" * 64)]) == ["a: package 3 is not the last one that the sender names"]


def test_packages_before_the_first_that_is_given_are_told_of(lake: Path) -> None:
    code, said = run_verifier(Path(verifier.__file__), *folders(lake, "a")[2:])
    assert (code, "packages 1 to 2 were not given" in said) == (0, True)


def test_checkpoints_that_are_swapped_between_packages_are_named(lake: Path) -> None:
    one, other = folders(lake, "a")[:2]
    for name in ("_checkpoint.json", "_checkpoint.json.sig"):
        first, second = (one / name).read_bytes(), (other / name).read_bytes()
        (one / name).write_bytes(second)
        (other / name).write_bytes(first)
    found = told(one, other)
    assert "_checkpoint.json: is of another package: _manifest.json has another run_id" in found
    assert not verify(str(lake)).ok


def test_a_package_that_stands_twice_is_named(lake: Path, tmp_path: Path) -> None:
    mine = folders(lake, "a")
    copy = copied(mine[1], tmp_path / "again")
    (found,) = told(*mine, copy)
    assert found.startswith("a: package 2 stands there twice")


def test_a_forked_chain_is_named_even_where_both_sides_are_signed_by_a_trusted_key(
    lake: Path, tmp_path: Path, key: Path
) -> None:
    mine = folders(lake, "a")
    other = copied(mine[1], tmp_path / "other")
    put_lines(other, chained(lines_in(other)[:3], verifier.seed(str(checkpoint(other)["run_id"]))))
    resealed(other, sign=True)
    both = tmp_path / "signers"
    mallory = AllowedSigner(PublicKey(MALLORY.public_key().public_bytes_raw()), principals="shop")
    both.write_text(f"{key.read_text()}{mallory.line()}\n")
    (found,) = told(*mine, other, key=both)
    assert found.startswith("a: package 2 is there in two versions: the chain is forked")


def test_a_package_of_another_number_is_named(lake: Path) -> None:
    """Its signature by a key that would be trusted does not help: the next package names the one that was."""
    second = folders(lake, "a")[1]
    resealed(second, sign=True, number=3)
    assert [t for t in told(*folders(lake, "a")) if t.startswith("a: package 3 is there in two versions")]


def test_packages_of_two_tenants_are_two_chains(lake: Path) -> None:
    assert told(lake) == []
    assert told(lake, last=[newest(lake, "b"), newest(lake, "a")]) == []


def test_too_few_of_the_sender_s_last_packages_accuse_nobody(lake: Path) -> None:
    number, sha = newest(lake, "a")
    again = "--last", f"{number}:{sha}"
    code, said = run_verifier(Path(verifier.__file__), lake, *again, *again)
    assert code == 2
    assert (
        "--last is given once for each chain, and there are 2: shop/test/ledger/a, shop/test/ledger/b" in said
    )
    assert "problem" not in said


def test_too_few_of_the_sender_s_last_packages_hide_nothing_that_is_wrong(lake: Path) -> None:
    (folders(lake, "b")[1] / "_evidence/letter").write_text("other")
    code, said = run_verifier(Path(verifier.__file__), lake, "--last", ":".join(map(str, newest(lake, "a"))))
    assert code == 1
    assert "_evidence/letter" in said
    assert "problem: --last: is given once for each chain" in said


def test_of_several_chains_the_one_that_was_cut_is_named(lake: Path) -> None:
    last = [newest(lake, "a"), newest(lake, "b")]
    shutil.rmtree(folders(lake, "b")[-1])
    assert told(lake, last=last) == ["b: ends with package 3, and the last one is 4: packages were removed"]
    shutil.rmtree(folders(lake, "a")[-1])
    assert told(lake, last=last) == [
        f"{tenant}: ends with package 3, which is none of the last ones that the sender names: packages were removed "
        "or changed"
        for tenant in "ab"
    ]


def test_a_chain_that_was_removed_as_a_whole_shows_against_what_the_sender_names(lake: Path) -> None:
    last = [newest(lake, "a"), newest(lake, "b")]
    for folder in folders(lake, "b"):
        shutil.rmtree(folder)
    number, sha = last[1]
    assert told(lake, last=last) == [
        f"--last: no chain ends with {number}:{sha}: packages were removed, or not given"
    ]
    shutil.rmtree(folders(lake, "a")[-1])
    assert len(told(lake, last=last)) == 2


def test_a_folder_that_is_not_there_is_a_wrong_argument(tmp_path: Path) -> None:
    code, said = run_verifier(Path(verifier.__file__), tmp_path / "nosuch")
    assert (code, "there is no folder" in said) == (2, True)


# --- keys


def test_a_signature_by_another_key_is_named(package: Path) -> None:
    data = (package / "_checkpoint.json").read_bytes()
    mallory = PublicKey(MALLORY.public_key().public_bytes_raw())
    signature = armored(mallory, CHECKPOINTS, MALLORY.sign(message(CHECKPOINTS, data)))
    (package / "_checkpoint.json.sig").write_bytes(signature)
    assert told(package) == [
        f"_checkpoint.json.sig: is by {mallory.fingerprint}, which _checkpoint.json does not name"
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda line: line.replace(",lading-checkpoint", ""),
            "may not sign in the namespace lading-checkpoint",
        ),
        (lambda line: line.replace("shop ", "other "), "may not sign for shop"),
        (lambda line: line.replace("valid-after", "valid-before"), "may not have signed at"),
    ],
)
def test_a_key_that_may_not_sign_this_does_not_count(
    change: Callable[[str], str], why: str, package: Path, key: Path, tmp_path: Path
) -> None:
    other = tmp_path / "signers"
    other.write_text(change(key.read_text()))
    found = told(package, key=other)
    assert [t for t in found if t.startswith("_checkpoint.json.sig") and why in t]
    report = verify(str(package), key=str(other))
    assert not report.ok


def test_a_public_key_alone_vouches_for_everything(package: Path, key: Path, tmp_path: Path) -> None:
    public = tmp_path / "key.pub"
    public.write_text(" ".join(key.read_text().split()[2:4]) + "\n")
    assert told(package, key=public) == []


@pytest.mark.parametrize(
    "text", ["", "nonsense\n", 'me cert-authority="" ssh-ed25519 AAAA\n', "!me ssh-ed25519 AAAA\n"]
)
def test_a_list_of_keys_that_is_not_understood_is_refused(text: str, package: Path, tmp_path: Path) -> None:
    file = tmp_path / "signers"
    file.write_text(text)
    code, said = run_verifier(Path(verifier.__file__), package, "--key", file)
    assert code == 2, said


# --- the verifier itself


def test_the_copy_in_a_package_verifies_it_on_a_bare_python(package: Path, lake: Path, key: Path) -> None:
    assert (package / "verify.py").read_bytes() == Path(verifier.__file__).read_bytes()
    code, said = run_verifier(package / "verify.py")
    assert code == 0, said
    assert "all holds, signed consistently; by whom was not checked" in said
    code, said = run_verifier(package / "verify.py", lake, "--key", key)
    assert code == 0, said
    assert "all holds, signed by a trusted key" in said
    (package / RECORDS).write_bytes(b"")
    code, said = run_verifier(package / "verify.py")
    assert code == 1, said


def test_what_python_compiles_of_the_verifier_is_nothing_that_was_added(package: Path) -> None:
    (package / "__pycache__").mkdir()
    for name in ("verify.cpython-312.pyc", "verify.cpython-38.opt-1.pyc", "verify.pypy39.pyc"):
        (package / "__pycache__" / name).write_bytes(b"x")
    assert told(package) == []


def test_a_place_without_a_package_does_not_pass(tmp_path: Path) -> None:
    assert told(tmp_path) == [f"{tmp_path.name}: holds no audit package"]
    assert told(tmp_path / "nowhere") == ["nowhere: holds no audit package"]


def test_the_verifier_needs_the_standard_library_of_python_3_8_alone() -> None:
    source = Path(verifier.__file__).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= {
        "__future__", "argparse", "array", "base64", "contextlib", "datetime", "fnmatch", "hashlib", "json", "os", "re",
        "shutil", "struct", "subprocess", "sys", "tempfile", "threading", "typing", "zlib",
    }  # fmt: skip
    # Of what came later: methods of texts, and dictionaries with |.
    assert not [name for name in ("removeprefix", "removesuffix", "is_relative_to") if name in source]


@settings(max_examples=40, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), text=st.binary(max_size=64), at=st.integers(0, 64 * 8 - 1))
def test_ed25519_agrees_with_the_library_on_what_holds_and_what_does_not(
    seed: bytes, text: bytes, at: int
) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(text)
    assert verifier.ed25519(public, text, signature)
    flipped = bytearray(signature)
    flipped[at // 8] ^= 1 << at % 8
    assert not verifier.ed25519(public, text, bytes(flipped))
    assert not verifier.ed25519(public, text + b".", signature)
    # RFC 8032, section 5.1.7: a second form of the same number does not count.
    s = int.from_bytes(signature[32:], "little") + verifier._L
    if s < 2**256:
        assert not verifier.ed25519(public, text, signature[:32] + s.to_bytes(32, "little"))


def test_ed25519_of_rfc_8032() -> None:
    """Section 7.1, test 2."""
    public = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert verifier.ed25519(public, b"\x72", signature)


shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)


@shared
@given(data=st.data())
def test_no_byte_of_a_package_can_be_changed_unnoticed(
    data: st.DataObject, audited: Path, tmp_path: Path
) -> None:
    first = folders(audited / "lake", "a")[0]
    name = data.draw(
        st.sampled_from(sorted(p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file()))
    )
    package = tmp_path / "package"
    if not package.exists():
        shutil.copytree(first, package)
    whole = (first / name).read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    (package / name).write_bytes(bytes(changed))
    try:
        assert told(package), f"{name}, byte {at}"
        assert not verify(str(package)).ok, f"{name}, byte {at}"
    finally:
        (package / name).write_bytes(whole)
