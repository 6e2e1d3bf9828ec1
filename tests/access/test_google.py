# D11 D22
"""Roles, bindings and lifecycle rules of Google Cloud Storage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from destinations import Make, document

from lading import InvalidProject

LAKE = {"url": "gs://lake/out"}
KEY = "projects/p/locations/eu/keyRings/r/cryptoKeys/k"
MEMBER = "serviceAccount:exporter@shop.iam.gserviceaccount.com"
NAME = "projects/_/buckets/lake/objects/out/"


def grants(told: Any) -> dict[str, tuple[list[str], str | None]]:
    """Permissions and condition, by what the role is for."""
    roles = {r["roleId"]: r["role"] for r in document(told, "roles.json")["roles"]}
    found = {}
    for binding in document(told, "bucket-bindings.json")["bindings"]:
        role = binding["role"].removeprefix("projects/PROJECT/roles/")
        condition = binding.get("condition", {}).get("expression")
        found[role.rpartition("_")[2]] = (roles[role]["includedPermissions"], condition)
    return found


def starts(*names: str) -> str:
    return " || ".join(f'resource.name.startsWith("{NAME}{name}")' for name in names)


def test_appended_deliveries_are_never_read_back(make: Make) -> None:
    found = grants(make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake"))
    both = starts("_lading_test/", "test/shop/orders/tenant=")
    assert found == {
        "write": (["storage.objects.create"], both),
        "upload": (
            ["storage.multipartUploads.abort", "storage.multipartUploads.create"],
            starts("test/shop/orders/tenant="),
        ),
        "replace": (["storage.objects.delete"], both),
        "list": (
            ["storage.objects.list"],
            'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith('
            '"out/test/shop/orders/tenant=")',
        ),
    }


def test_write_only_lists_nothing_and_says_what_it_still_deletes(make: Make) -> None:
    told = make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake", write_only=True)
    assert set(grants(told)) == {"write", "upload", "replace"}
    assert "storage.objects.delete stays" in " ".join(told["notes"])


def test_a_pointer_is_read_by_the_beginning_and_end_of_its_name(make: Make) -> None:
    found = grants(make({"lake": LAKE}, {"whole": {}}).destination_policy("lake"))
    assert found["read"] == (
        ["storage.objects.get"],
        f'({starts("test/shop/orders/tenant=")} && resource.name.endsWith("/whole/latest.json"))',
    )
    assert found["list"] == (["storage.objects.list"], None)


def test_a_journal_may_not_be_deleted_though_deliveries_lie_in_its_store(make: Make) -> None:
    stores = {"lake": LAKE, "journal": {"url": "gs://lake/out"}}
    project = make(stores, {"to_lake": {"destination": "journal"}})
    found = grants(project.destination_policy("journal"))
    assert found["write"][1] == starts("_lading_test/", "shop/test/", "test/shop/orders/tenant=")
    assert found["replace"][1] == starts("_lading_test/", "test/shop/orders/tenant=")


def test_conditions_stay_within_what_google_takes(make: Make) -> None:
    tenants = {f"t{n}": "own" for n in range(8)}
    project = make({"own": LAKE}, {"to_lake": {}}, tenants=tenants)
    bindings = document(project.destination_policy("own"), "bucket-bindings.json")["bindings"]
    uploads = [b["condition"]["expression"] for b in bindings if b["role"].endswith("upload")]
    assert [expression.count(" || ") for expression in uploads] == [5, 1]
    assert " || ".join(uploads) == starts(*(f"test/shop/orders/tenant=t{n}/" for n in range(8)))


def test_the_member_is_named_or_left_to_be_filled_in(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}})
    told = project.destination_policy("lake", principal=MEMBER)
    assert {m for b in document(told, "bucket-bindings.json")["bindings"] for m in b["members"]} == {MEMBER}
    assert "EXPORTER" not in told["fill_in"]
    assert set(project.destination_policy("lake")["fill_in"]) == {"PROJECT", "EXPORTER"}
    with pytest.raises(InvalidProject, match="takes a member of Google Cloud"):
        project.destination_policy("lake", principal="arn:aws:iam::444455556666:role/exporter")


def test_a_key_is_granted_to_the_service_and_not_to_the_exporter(make: Make) -> None:
    sse = {"server_side_encryption": {"type": "cmek", "key": KEY}}
    told = make({"lake": LAKE | sse}, {"to_lake": {}}).destination_policy("lake")
    (binding,) = document(told, "key-bindings.json")["bindings"]
    assert binding["role"] == "roles/cloudkms.cryptoKeyEncrypterDecrypter"
    assert binding["members"][0].endswith("@gs-project-accounts.iam.gserviceaccount.com")
    assert "kms" not in json.dumps(document(told, "roles.json"))


def test_the_lifecycle_has_the_tiers_and_deletes_no_delivery_unless_asked(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}})
    rules = document(project.destination_policy("lake"), "lifecycle.json")["lifecycle"]["rule"]
    where = {"matchesPrefix": ["out/test/shop/orders/tenant="]}
    assert [(r["action"]["type"], r["condition"]) for r in rules[:3]] == [
        ("AbortIncompleteMultipartUpload", {"age": 7, "matchesPrefix": ["out/"]}),
        ("Delete", {"age": 1, "matchesPrefix": ["out/_lading_test/"]}),
        ("Delete", {"daysSinceNoncurrentTime": 30, **where}),
    ]
    assert [(r["action"].get("storageClass"), r["condition"]["age"]) for r in rules[3:]] == [
        ("NEARLINE", 30),
        ("COLDLINE", 90),
        ("ARCHIVE", 365),
    ]
    asked = project.destination_policy("lake", delete_after=400)
    last = document(asked, "lifecycle.json")["lifecycle"]["rule"][-1]
    assert last == {"action": {"type": "Delete"}, "condition": {"age": 400, **where}}
