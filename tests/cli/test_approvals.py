"""Approvals and the rules of protection, as their users meet them."""

# S9 S10 S11 D17
from __future__ import annotations

import json
import logging
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from people import ADA, BOB, EVE, Person, write_owners

from lading import InvalidProject, Project, Refused

SOON = datetime.now(UTC) + timedelta(days=30)
CONTRACT, EXPORT = "contracts/orders.v1.odcs.yaml", "exports/orders_drop.yaml"
MASK = "  - mask: {email: hmac_sha256}   # with a key for each shop"
CONFIDENTIAL = "classification: confidential"


def approve(root: Path, asks: Person = BOB, *grants: Person, export: str = "orders_drop") -> None:
    project = Project.load(root)
    project.ask(export, by=asks.name, purpose="audit of the year", expires=SOON, sign=asks.sign)
    for each in grants or (ADA,):
        pending = project.asked_for(export, each.name)
        project.grant(export, by=each.name, approvals=pending, sign=each.sign)


@pytest.fixture
def bare(project: Path, replace: Any) -> Path:
    """The sample, with e-mail addresses called personal and left unmasked."""
    replace(CONTRACT, CONFIDENTIAL, "classification: confidential, tags: [pii]")
    replace(EXPORT, MASK, "  - exclude: []")
    replace(EXPORT, "transforms:\n  - exclude: []\n", "")
    write_owners(project)
    return project


# --- classification


@pytest.mark.parametrize("said", ["classification: restricted", "classification: top-secret", ""])
def test_a_restricted_column_without_a_key_of_the_recipient_s_stops_before_a_row_is_read(
    lading: Any, project: Path, replace: Any, said: str
) -> None:
    replace(CONTRACT, f", {CONFIDENTIAL}", f", {said}" if said else "")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "")
    shutil.rmtree(project / "incoming")  # nothing can be read
    for command in (["run", "orders_drop"], ["plan", "orders_drop"]):
        told = lading(*command)
        assert told.code == 3
        assert "orders_drop: restricted: email (" in told.err
        assert "may leave only under a key of the recipient's own" in told.err
    assert not (project / "deliveries").exists()
    assert not list((project / "journal").rglob("claim.json"))
    checked = lading("validate")
    assert checked.code == 2
    assert "exports/orders_drop.yaml" in checked.err
    assert "restricted: email" in checked.err


@pytest.mark.parametrize(
    ("said", "encryption", "told", "untold"),
    [
        ("", "", "Classify them in the contract, exclude or mask them", "kms_key"),
        ("restricted", "", "Exclude or mask them (hmac_sha256,", "lassify"),
        ("restricted", "encryption: {key: tenant}\n",
         "; encryption: {key: tenant} counts only where tenants are not discovered and every one is listed with its "
         "own kms_key", "lassify"),
    ],
)  # fmt: skip
def test_what_would_let_a_restricted_column_leave_is_said_of_this_column_and_this_key(
    lading: Any, project: Path, replace: Any, said: str, encryption: str, told: str, untold: str
) -> None:
    replace(CONTRACT, f", {CONFIDENTIAL}", f", classification: {said}" if said else "")
    replace(EXPORT, "transforms:\n" + MASK + "\n", encryption)
    refused = lading("run", "orders_drop")
    assert refused.code == 3
    shown = " ".join(refused.err.split())
    assert told in shown
    assert untold not in shown


def test_a_misspelt_exclude_is_told_beside_what_it_lets_through(
    lading: Any, project: Path, replace: Any
) -> None:
    replace(CONTRACT, CONFIDENTIAL, "classification: restricted")
    replace(EXPORT, MASK, "  - exclude: [emial]")
    words = 'xclude: there is no column "emial" in contracts/orders.v1.odcs.yaml – did you mean "email"?'
    for command, code in ((["validate"], 2), (["plan", "orders_drop"], 3), (["run", "orders_drop"], 3)):
        told = lading(*command)
        assert told.code == code
        assert words in told.err
        assert "restricted: email (classified restricted)" in told.err
    replace(EXPORT, "[emial]", "[email]")
    assert lading("validate").code == 0
    # What no column resembles may be one of the source's that the contract leaves out.
    replace(EXPORT, "exclude: [email]", "exclude: [remarks]")
    assert "remarks" not in lading("validate").err


@pytest.mark.parametrize(
    ("mask", "code"),
    [("hmac_sha256", 0), ("null", 0), ("{constant: x}", 0), ("hash_sha256", 3), ("mask_except_last_4", 3)],
)
def test_a_mask_that_leaves_nothing_of_the_values_lets_restricted_columns_leave(
    lading: Any, project: Path, replace: Any, mask: str, code: int
) -> None:
    replace(CONTRACT, CONFIDENTIAL, "classification: restricted")
    replace(EXPORT, "{email: hmac_sha256}", f"{{email: {mask}}}")
    assert lading("run", "orders_drop").code == code


def test_restricted_data_leaves_under_the_recipient_s_key_and_the_manifest_says_so(
    lading: Any, project: Path, replace: Any
) -> None:
    pytest.importorskip("pyrage")
    from pyrage.x25519 import Identity

    replace(CONTRACT, CONFIDENTIAL, "classification: restricted")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "encryption: {key: recipient}\n")
    (project / "tenants").mkdir()
    for shop in ("berlin", "lisbon"):
        public = Identity.generate().to_public()
        (project / f"tenants/{shop}.yaml").write_text(f"tenant: {shop}\nage: {public}\n")
    assert lading("run", "orders_drop").code == 0
    (basis,) = {json.dumps(manifest["decisions"]) for manifest in manifests(project)}
    assert json.loads(basis) == [
        {"rule": "restricted", "columns": ["email"], "basis": "encrypted under a key of the recipient's own"}
    ]
    assert lading("verify", "deliveries").code == 0


def manifests(root: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((root / "deliveries").rglob("_manifest.json"))]


# --- personal data


def test_unmasked_personal_data_leaves_with_an_approval_alone(lading: Any, bare: Path) -> None:
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "personal: email would leave unmasked, which needs an approval" in told.err
    assert "lading approvals orders_drop" in told.err
    warned = lading("validate")
    assert warned.code == 0
    assert "needs an approval, and there is none" in warned.err
    planned = lading("plan", "orders_drop", "--json").json["approvals"]
    assert [(each["kind"], each["name"], each["approval"]) for each in planned] == [
        ("export", "orders_drop", None)
    ]
    approve(bare)
    assert lading("run", "orders_drop").code == 0
    (state,) = lading("approvals", "--json").json
    first, *others = manifests(bare)
    assert first["approvals"][0]["sha256"].startswith(state["approval"])
    assert first["approvals"][0].keys() == {"sha256", "kind", "name", "expires"}
    assert first["decisions"] == [
        {"rule": "personal", "columns": ["email"], "basis": f"approval {first['approvals'][0]['sha256']}"}
    ]
    assert all(other["approvals"] == first["approvals"] for other in others)
    # Of people and purposes recipients are told nothing.
    text = json.dumps(first)
    assert not any(word in text for word in ('"ada"', '"bob"', "audit of the year"))
    assert lading("verify", "deliveries").code == 0


def test_an_export_that_no_approval_helps_hides_no_other_s_approvals(
    lading: Any, bare: Path, replace: Any
) -> None:
    text = (
        (bare / EXPORT)
        .read_text()
        .replace("name: orders_drop", "name: another")
        .replace("orders@1", "secrets@1")
    )
    (bare / "exports/another.yaml").write_text(text)
    promised = (bare / CONTRACT).read_text().replace("name: orders\nversion", "name: secrets\nversion")
    (bare / "contracts/secrets.v1.odcs.yaml").write_text(promised.replace(", " + CONFIDENTIAL, ""))
    assert lading("run", "another").code == 3
    told = lading("approvals", "--json")
    assert told.code == 0
    assert "orders_drop" in {each["export"] for each in told.json}


def test_what_was_approved_is_what_stands_in_the_files(lading: Any, bare: Path, replace: Any) -> None:
    approve(bare)
    replace(EXPORT, "checks:\n", "checks:\n  - not_null: [shop]\n")
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "is for another definition: the export orders_drop has changed since" in told.err
    assert lading("--environment", "dev", "run", "orders_drop").code == 3
    approve(bare)  # anew
    assert lading("run", "orders_drop").code == 0


def test_a_step_of_the_contract_s_status_voids_what_was_approved_and_is_named(
    lading: Any, bare: Path, replace: Any
) -> None:
    approve(bare)
    (granted,) = (bare / "ops/approvals").glob("*.json")
    replace(CONTRACT, "status: active", "status: deprecated")
    Project.load(bare).ask("orders_drop", by="bob", purpose="p", expires=SOON, sign=BOB.sign)
    replace(CONTRACT, "status: deprecated", "status: retired")
    told = lading("run", "orders_drop").err
    assert f"the approval {granted.stem} is for another definition" in told
    assert "the export orders_drop has changed since (differs in: contract)" in told


def test_an_approval_that_ends_while_nothing_is_due_stops_nothing(lading: Any, bare: Path) -> None:
    approve(bare)
    assert lading("run", "orders_drop").code == 0
    shutil.rmtree(bare / "ops/approvals")
    assert lading("run", "orders_drop").code == 0  # everything is delivered
    again = lading(
        "run", "orders_drop", "--revise", "--reason", "x", "--start", "2024-01-01", "--end", "2024-02-01"
    )
    assert again.code == 3


def test_a_revoked_approval_and_one_of_somebody_who_left_allow_nothing(lading: Any, bare: Path) -> None:
    approve(bare)
    write_owners(bare, (BOB, EVE), datasets={"*": ["eve"]}, channels={"*": ["eve"]})
    assert "not signed by another owner of datasets.orders: eve may" in lading("run", "orders_drop").err
    write_owners(bare)
    (document,) = (bare / "ops/approvals").glob("*.json")
    document.unlink()
    assert "needs an approval, and there is none" in lading("run", "orders_drop").err


def test_nobody_grants_their_own(bare: Path, replace: Any) -> None:
    project = Project.load(bare)
    project.ask("orders_drop", by="ada", purpose="p", expires=SOON, sign=ADA.sign)
    (document,) = (bare / "ops/approvals").glob("*.json")
    told = rf"you asked for {document.stem} yourself: another owner grants it \(bob\)\.$"
    with pytest.raises(Refused, match=told):
        project.asked_for("orders_drop", "ada")
    # Of what has changed since, nothing is pending any more.
    replace(EXPORT, "checks:\n", "checks:\n  - not_null: [shop]\n")
    with pytest.raises(InvalidProject, match="nothing that ada could grant"):
        Project.load(bare).asked_for("orders_drop", "ada")
    with pytest.raises(Refused, match="not signed by another owner"):
        project.run("orders_drop")


def test_a_signature_of_somebody_else_is_not_kept(bare: Path) -> None:
    project = Project.load(bare)
    with pytest.raises(InvalidProject, match="The signature is eve's, not bob's"):
        project.ask("orders_drop", by="bob", purpose="p", expires=SOON, sign=EVE.sign)
    with pytest.raises(InvalidProject, match='names nobody called "mallory"; there are ada, bob, eve'):
        project.ask("orders_drop", by="mallory", purpose="p", expires=SOON, sign=EVE.sign)
    with pytest.raises(InvalidProject, match="An approval needs a purpose"):
        project.ask("orders_drop", by="bob", purpose=" ", expires=SOON, sign=BOB.sign)
    assert not (bare / "ops/approvals").exists()
    assert project.audit_log() == []


def test_an_edited_approval_stops_everything_that_goes_by_approvals(lading: Any, bare: Path) -> None:
    approve(bare)
    (document,) = (bare / "ops/approvals").glob("*.json")
    document.write_text(document.read_text().replace("audit of the year", "audit of the moon"))
    told = lading("run", "orders_drop")
    assert told.code == 2
    assert f"ops/approvals/{document.name}: is not what its name says" in told.err
    assert lading("validate").code == 2


def test_each_grant_and_use_is_in_the_audit_chain(lading: Any, bare: Path) -> None:
    empty = lading("approvals", "--log")
    assert (empty.code, empty.out, empty.err) == (0, "", "The audit chain has no record yet.\n")
    approve(bare)
    assert lading("run", "orders_drop").code == 0
    log = lading("approvals", "--log", "--json").json
    assert [(each["event"], each.get("by")) for each in log] == [
        ("asked", "bob"), ("granted", "ada"), ("used", None), ("used", None), ("used", None),
    ]  # fmt: skip
    assert log[2]["approvals"][0]["signers"] == ["ada", "bob"]
    assert {manifest["audit"]["number"] for manifest in manifests(bare)} == {3, 4, 5}
    assert lading("approvals", "--log").out.count("\n") == 6
    for path in (bare / "journal").rglob("audit/00000002.json"):
        path.write_text(path.read_text().replace('"ada"', '"eve"'))
    assert lading("approvals", "--log").code == 6


def with_ssh_keys(root: Path, folder: Path) -> Path:
    """A folder with the keys of ada, who owns everything, and of bob."""
    people: dict[str, list[str]] = {}
    for name, kind in (("ada", "ecdsa"), ("bob", "ed25519")):
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", kind, "-f", folder / name], check=True)
        people[name] = [(folder / f"{name}.pub").read_text().strip()]
    owned = {section: {"*": ["ada"]} for section in ("datasets", "channels")}
    (root / "ops/owners.yaml").write_text(json.dumps({"people": people, **owned}))
    return folder


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
def test_two_people_with_their_ssh_keys_approve_on_the_command_line(
    lading: Any, bare: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = with_ssh_keys(bare, tmp_path_factory.mktemp("ssh"))
    until = f"{SOON:%Y-%m-%d}"
    asked = lading("approve", "orders_drop", "--as", "bob", "--key", str(folder / "bob"),
                   "--purpose", "audit", "--expires", until)  # fmt: skip
    assert asked.code == 0, asked.err
    assert asked.out.startswith("export orders_drop: asked for; the approval ")
    assert "is not signed by another owner of datasets.orders: ada may" in asked.out
    # By hand, as on another machine.
    (document,) = (bare / "ops/approvals").glob("*.json")
    signature = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "lading-approval", "-f", str(folder / "ada")],
        input=document.read_bytes(), capture_output=True, check=True,
    ).stdout  # fmt: skip
    by_hand = document.with_suffix(".ada.sig")
    by_hand.write_bytes(signature)
    assert lading("approvals").out.rstrip().endswith("granted")
    by_hand.unlink()
    unasked = lading("approve", "orders_drop", "--as", "ada", "--key", str(folder / "ada"))
    assert unasked.code == 2
    assert "read the document first" in unasked.err
    assert '  "purpose": "audit",' in unasked.out.splitlines()
    granted = lading("approve", "orders_drop", "--as", "ada", "--key", str(folder / "ada"), "--yes")
    assert granted.code == 0, granted.err
    assert granted.out.rstrip().endswith("granted")
    assert lading("run", "orders_drop").code == 0


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
def test_who_asks_is_told_what_was_asked_for_and_what_was_not(
    lading: Any, bare: Path, replace: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = with_ssh_keys(bare, tmp_path_factory.mktemp("ssh"))
    one, other = f"{SOON:%Y-%m-%d}", f"{SOON + timedelta(days=1):%Y-%m-%d}"

    def ask(who: str = "bob", until: str = one, key: str = "") -> Any:
        return lading("approve", "orders_drop", "--as", who, "--key", str(folder / (key or who)),
                      "--purpose", "audit", "--expires", until)  # fmt: skip

    def documents() -> list[str]:
        return sorted(path.stem for path in (bare / "ops/approvals").glob("*.json"))

    assert "Asked for, in ops/approvals: somebody else grants it" in ask().err
    (first,) = documents()
    again = ask()
    assert (again.code, again.err) == (
        0,
        f"orders_drop: pending already: {first}; nothing was asked for.\n",
    )
    assert documents() == [first]
    longer = ask(until=other)
    assert f"export orders_drop: pending too: {first}; what was asked for last is granted." in longer.err
    assert "Asked for, in ops/approvals" in longer.err
    assert len(documents()) == 2
    own = lading("approve", "orders_drop", "--as", "bob", "--key", str(folder / "bob"), "--yes")
    assert own.code == 3
    assert "yourself: another owner grants it (ada)." in own.err
    assert (
        lading("approve", "orders_drop", "--as", "ada", "--key", str(folder / "ada"), "--yes").out
        == "export orders_drop: granted\n"
    )
    granted = ask()
    assert (granted.code, granted.err) == (
        0,
        f"orders_drop: approved until {other}; nothing was asked for.\n",
    )
    # Whatever is due, a key that is not there is told.
    missing = ask(key="nobody")
    assert missing.code == 2
    assert "nobody cannot be read: No such file or directory." in missing.err
    assert "names nobody called" in ask(who="eve", key="bob").err
    assert len(lading("approvals", "--log", "--json").json) == 3
    replace(CONTRACT, ", tags: [pii]", "")
    needless = ask()
    assert (needless.code, needless.out, needless.err) == (
        0,
        "",
        "orders_drop: needs no approval; nothing was asked for.\n",
    )


def test_what_only_the_asker_owns_is_not_asked_for(bare: Path) -> None:
    write_owners(bare, datasets={"*": ["ada"]}, channels={"*": ["ada", "bob"]})
    project = Project.load(bare)
    with pytest.raises(Refused) as refused:
        project.ask("orders_drop", by="ada", purpose="p", expires=SOON, sign=ADA.sign)
    assert str(refused.value) == (
        "orders_drop: ada asked and is the only owner of datasets.orders: add another to ops/owners.yaml, "
        "or let somebody else ask."
    )
    assert not (bare / "ops/approvals").exists()
    approve(bare, BOB, ADA)


# --- protected destinations


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def protected(project: Path, replace: Any, endpoint: str) -> Path:
    """The sample, with a protected lake and its journal in a bucket."""
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1",
                          aws_access_key_id="x", aws_secret_access_key="y")  # fmt: skip
    bucket = f"journal-{secrets.token_hex(8)}"
    client.create_bucket(Bucket=bucket)
    replace("lading.yaml", '"file://./deliveries", durable: false', '"file://./deliveries", protected: true')
    replace(
        "lading.yaml",
        '{url: "file://./journal", durable: false}',
        f'{{url: "s3://{bucket}", endpoint: "{endpoint}", allow_http: true, region: us-east-1, '
        "access_key_id: x, secret_access_key: top-secret-y}",
    )
    write_owners(project)
    return project


def test_a_protected_destination_takes_what_is_approved_whatever_the_environment_says(
    lading: Any, protected: Path
) -> None:
    for options in ([], ["--environment", "dev"]):
        told = lading(*options, "run", "orders_drop")
        assert told.code == 3
        assert "protected: the destination lake takes only what is approved" in told.err
        assert "the export orders_drop needs an approval" in told.err
        assert "the destination lake needs an approval" in told.err
    approve(protected)
    states = lading("approvals", "--json").json
    assert [(each["kind"], each["name"], each["missing"]) for each in states] == [
        ("export", "orders_drop", None), ("destination", "lake", None),
    ]  # fmt: skip
    assert lading("run", "orders_drop").code == 0
    assert {d["rule"] for m in manifests(protected) for d in m["decisions"]} == {"protected"}
    assert [len(m["approvals"]) for m in manifests(protected)] == [2] * 6
    written = "".join(path.read_text() for path in (protected / "ops/approvals").iterdir())
    assert "top-secret-y" not in written


def test_a_destination_that_changed_is_approved_anew(lading: Any, protected: Path, replace: Any) -> None:
    approve(protected)
    replace("lading.yaml", '"file://./deliveries"', '"file://./elsewhere"')
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "is for another definition: the destination lake has changed since" in told.err
    assert "export orders_drop" not in told.err


def test_a_query_is_reviewed_as_it_stands(lading: Any, protected: Path, replace: Any) -> None:
    replace(EXPORT, 'files: "orders/*.csv"', "query: queries/orders.sql")
    (protected / "queries").mkdir()
    (protected / "queries/orders.sql").write_text("select * from orders")
    approve(protected)
    project = Project.load(protected)
    assert [each["kind"] for each in project.approvals()] == ["export", "query", "destination"]
    assert all(each["approval"] for each in project.approvals())
    (protected / "queries/orders.sql").write_text("select * from orders, secrets")
    states = {each["kind"]: each["missing"] for each in Project.load(protected).approvals()}
    assert states["destination"] is None
    assert "the query queries/orders.sql has changed since" in states["query"]
    assert "the export orders_drop has changed since" in states["export"]


@pytest.mark.parametrize("way", ["destination", "copies", "tenant"])
def test_a_protected_store_is_reached_by_no_way_without_approvals(
    lading: Any, protected: Path, replace: Any, way: str
) -> None:
    replace("lading.yaml", "protected: true", "protected: false")
    replace("lading.yaml", "stores:\n", 'stores:\n  vault: {url: "file://./vault", protected: true}\n')
    if way == "tenant":
        (protected / "tenants").mkdir()
        (protected / "tenants/berlin.yaml").write_text("tenant: berlin\ndestination: vault\n")
    else:
        at = {"destination": "destination: vault", "copies": "destination: lake\ncopies: [vault]"}[way]
        replace(EXPORT, "destination: lake", at)
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "the destination vault takes only what is approved" in told.err
    assert not (protected / "vault").exists()


def test_a_protected_destination_refuses_a_journal_on_this_machine(
    lading: Any, project: Path, replace: Any
) -> None:
    replace("lading.yaml", '"file://./deliveries", durable: false', '"file://./deliveries", protected: true')
    write_owners(project)
    for command in (["validate"], ["run", "orders_drop"], ["plan", "orders_drop"]):
        told = lading(*command)
        assert told.code == 2
        assert 'needs a journal that outlives this machine, and "journal" is a folder of it' in told.err
    assert not (project / "deliveries").exists()


# --- secrets


def test_a_column_that_is_called_like_a_secret_stays_unless_it_is_none(
    lading: Any, project: Path, replace: Any
) -> None:
    replace(CONTRACT, "name: email", "name: api_token, physicalName: email")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "")
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "secrets: api_token would leave, called like a password, a key or a token" in told.err
    assert lading("validate").code == 2
    replace(EXPORT, "checks:\n", "not_secret: [api_tokn]\nchecks:\n")
    assert (
        'there is no field of the contract "api_tokn" – did you mean "api_token"?' in lading("validate").err
    )
    replace(EXPORT, "[api_tokn]", "[api_token]")
    assert lading("run", "orders_drop").code == 0
    assert manifests(project)[0]["decisions"] == [
        {"rule": "secrets", "columns": ["api_token"], "basis": "declared to hold no secrets"}
    ]


def test_a_value_that_looks_like_a_secret_stops_the_run_and_is_not_told(
    lading: Any, project: Path, replace: Any
) -> None:
    secret = "ghp_" + "a1B2" * 9
    replace("incoming/orders/2024-02.csv", "edsger@example.com", f"edsger {secret}")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "")
    told = lading("run", "orders_drop")
    assert told.code == 7  # the other months are delivered
    assert "no_secrets(email): 1 looks like a secret (GitHub Token)" in told.err
    assert secret not in told.err + told.out + lading("runs", "--json").out
    written = b"".join(
        path.read_bytes() for path in project.rglob("*") if path.is_file() and path.suffix != ".csv"
    )
    assert secret.encode() not in written
    replace(EXPORT, "checks:\n", "transforms:\n" + MASK + "\nchecks:\n")
    assert lading("run", "orders_drop").code == 0


def test_a_customer_s_own_key_of_a_service_is_the_recipient_s(project: Path, replace: Any) -> None:
    replace(CONTRACT, CONFIDENTIAL, "classification: restricted")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "encryption: {key: tenant}\n")
    replace("lading.yaml", 'keys: {url: "file://./keys"}', 'keys: {url: "file://./keys", wrap: {type: aws}}')
    (project / "tenants").mkdir()
    arn = "arn:aws:kms:eu-central-1:111122223333:key/0000000{}-1111-2222-3333-444455556666"

    def refused() -> bool:
        return bool(Project.load(project)._gate.problems("orders_drop"))

    for number, shop in enumerate(("berlin", "lisbon")):
        (project / f"tenants/{shop}.yaml").write_text(f"tenant: {shop}\nkms_key: {arn.format(number)}\n")
    assert refused()  # tenants are discovered, and who is only met in the data brings no key
    replace(EXPORT, "discover: true", "discover: false")
    assert not refused()
    (project / "tenants/lisbon.yaml").write_text("tenant: lisbon\n")
    assert refused()


# --- what a hostile tester found


def restricted(project: Path, replace: Any, transforms: str) -> None:
    replace(CONTRACT, CONFIDENTIAL, "classification: restricted, tags: [pii]")
    replace("lading.yaml", "shop: string, email", "shop: string, junk: string, email")
    for path in (project / "incoming/orders").iterdir():
        head, *rows = path.read_text().splitlines()
        wider = [head.replace(",", ",junk,", 1), *(row.replace(",", ",x,", 1) for row in rows)]
        path.write_text("\n".join(wider))
    replace(EXPORT, MASK, transforms)


@pytest.mark.parametrize(
    "transforms",
    [
        "  - rename: {email: code, junk: email}\n  - mask: {email: hmac_sha256}",
        "  - rename: {email: junk}\n  - mask: {junk: hash_sha256}",
        "  - rename: {junk: other, email: junk}\n  - mask: {other: hmac_sha256}",
    ],
)
def test_a_name_that_a_rename_gave_away_protects_nothing(
    lading: Any, project: Path, replace: Any, transforms: str
) -> None:
    restricted(project, replace, transforms)
    told = lading("run", "orders_drop")
    assert told.code in (2, 3), told.err
    assert not (project / "deliveries").exists()


def test_what_is_excluded_by_the_name_that_a_rename_gave_it_is_not_delivered(
    lading: Any, project: Path, replace: Any
) -> None:
    restricted(project, replace, "  - rename: {email: junk}\n  - exclude: [junk]")
    assert lading("run", "orders_drop").code == 0
    assert all(
        "example.com" not in line
        for line in lading("preview", "orders_drop", "--limit", "7").out.splitlines()
    )
    assert {c["name"] for m in manifests(project) for c in m["schema"]} == {
        "order_id",
        "shop",
        "amount",
        "ordered_at",
    }


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (EXPORT, "start: 2024-01-01", "start: 2023-12-01"),
        (EXPORT, "every: 1 month", "every: 1 day"),
        ("lading.yaml", '"file://./incoming"', '"file://./elsewhere"'),
        ("lading.yaml", '"file://./deliveries"', '"file://./elsewhere"'),
        ("tenants/berlin.yaml", "active: false", "active: true"),
    ],
)
def test_whatever_decides_what_is_delivered_to_whom_and_where_is_approved(
    lading: Any, bare: Path, replace: Any, file: str, old: str, new: str
) -> None:
    (bare / "tenants").mkdir()
    (bare / "tenants/berlin.yaml").write_text("tenant: berlin\nactive: false\n")
    approve(bare)
    assert not Project.load(bare).approvals("orders_drop")[0]["missing"]
    replace(file, old, new)
    assert "has changed since" in Project.load(bare).approvals("orders_drop")[0]["missing"]


def test_a_new_recipient_is_approved_anew(bare: Path) -> None:
    approve(bare)
    (bare / "tenants").mkdir()
    (bare / "tenants/evil.yaml").write_text("tenant: evil\n")
    assert "has changed since" in Project.load(bare).approvals("orders_drop")[0]["missing"]


def test_another_journal_would_know_of_no_use(lading: Any, protected: Path, replace: Any) -> None:
    approve(protected)
    settings = (protected / "lading.yaml").read_text()
    (line,) = (line for line in settings.splitlines() if line.startswith("  journal: {"))
    other = line.replace("  journal:", "  other:").replace("s3://journal-", "s3://journal-x")
    replace("lading.yaml", line, f"{line}\n{other}")
    project = Project.load(protected, environ={"LADING_JOURNAL": "other"})
    assert "the destination lake has changed since" in str([each["missing"] for each in project.approvals()])


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"", b"NaN", b'{"a": "\\ud800"}'],
    ids=["deep list", "deep mapping", "no text", "empty", "no number", "half a character"],
)
def test_what_is_no_approval_is_named_and_is_no_crash(lading: Any, bare: Path, data: bytes) -> None:
    (bare / "ops/approvals").mkdir()
    (bare / "ops/approvals/x.json").write_bytes(data)
    for command in (["run", "orders_drop"], ["validate"], ["approvals"]):
        told = lading(*command)
        assert told.code == 2
        assert "ops/approvals/x.json: " in told.err


@pytest.mark.parametrize("where", ["x.json", "x.json link", "owners"])
def test_what_is_no_file_is_named_too(lading: Any, bare: Path, where: str) -> None:
    folder = bare / "ops/approvals"
    folder.mkdir()
    if where == "owners":
        (bare / "ops/owners.yaml").unlink()
        (bare / "ops/owners.yaml").mkdir()
    elif where == "x.json":
        (folder / "x.json").mkdir()
    else:
        (folder / "x.json").symlink_to(folder / "nothing")
    assert lading("run", "orders_drop").code == 2


def test_the_secret_that_stopped_a_run_stands_in_no_record_of_it(
    lading: Any, project: Path, replace: Any
) -> None:
    replace(CONTRACT, CONFIDENTIAL, "classification: public")
    replace(EXPORT, "transforms:\n" + MASK + "\n", "")
    replace(EXPORT, "tenants: {column: shop, discover: true}\n", "")
    secret = "AKIA" + "Q3EGRZ5XYV7TNM2B"
    replace("incoming/orders/2024-02.csv", "edsger@example.com", secret)
    assert lading("run", "orders_drop").code == 7
    written = b"".join(p.read_bytes() for p in project.rglob("*") if p.is_file() and p.suffix != ".csv")
    assert secret.encode() not in written
