# D11 D22
"""The role, its condition and the lifecycle policy of Azure Blob Storage."""

from __future__ import annotations

from typing import Any

import pytest
from destinations import Make, document

from lading import InvalidProject

LAKE = {"url": "abfss://lake@shopdata.dfs.core.windows.net/out"}
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
FOLDER = "'out/test/shop/orders/tenant=*/*'"
ID = "11111111-2222-3333-4444-555555555555"


def actions(told: Any) -> list[str]:
    found = document(told, "role-definition.json")
    assert (found["Actions"], found["NotActions"], found["NotDataActions"]) == ([], [], [])
    return [action.removeprefix(f"{BLOBS}/") for action in found["DataActions"]]


def clauses(told: Any) -> list[str]:
    condition: str = document(told, "role-assignment.json")["condition"]
    assert condition.count("(") == condition.count(")")
    return [each.replace(BLOBS, "blobs") for each in condition.split(" AND ((")]


def test_appended_deliveries_are_listed_and_never_read_back(make: Make) -> None:
    told = make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake")
    assert actions(told) == ["write", "delete", "read"]
    like = f"ForAnyOfAnyValues:StringLike {{{FOLDER}"
    assert clauses(told) == [
        f"((!(ActionMatches{{'blobs/write'}})) OR (@Resource[blobs:path] {like}, 'out/_lading_test/*'}}))",
        f"!(ActionMatches{{'blobs/delete'}})) OR (@Resource[blobs:path] {like}, 'out/_lading_test/*'}}))",
        "!(ActionMatches{'blobs/read'} AND NOT SubOperationMatches{'Blob.List'})))",
        "!(ActionMatches{'blobs/read'} AND SubOperationMatches{'Blob.List'})) OR "
        f"(@Request[blobs:prefix] {like}}}))",
    ]


def test_write_only_has_one_action(make: Make) -> None:
    told = make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake", write_only=True)
    assert actions(told) == ["write"]
    assert len(clauses(told)) == 1


def test_a_pointer_is_the_only_blob_that_is_read(make: Make) -> None:
    told = make({"lake": LAKE}, {"whole": {}}).destination_policy("lake")
    assert "{'out/test/shop/orders/tenant=*/whole/latest.json'}" in clauses(told)[2]


def test_the_role_is_assigned_in_the_container_alone(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}})
    told = project.destination_policy("lake", principal=ID)
    assignment = document(told, "role-assignment.json")
    assert assignment["scope"].endswith("/storageAccounts/shopdata/blobServices/default/containers/lake")
    assert assignment["principalId"] == ID
    assert set(told["fill_in"]) == {"SUBSCRIPTION", "RESOURCE_GROUP"}
    unknown = project.destination_policy("lake")
    assert "PRINCIPAL_ID" in unknown["fill_in"]
    with pytest.raises(InvalidProject, match="takes the object id"):
        project.destination_policy("lake", principal="exporter")


def test_characters_of_the_prefix_that_conditions_know_are_literal(make: Make) -> None:
    told = make(
        {"lake": {"url": "az://lake/it's", "account": "shopdata"}}, {"to_lake": {}}
    ).destination_policy("lake")
    assert r"{'it\'s/test/shop/orders/tenant=*/*'" in clauses(told)[0]


def test_the_lifecycle_keeps_deliveries_readable_unless_asked(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}})
    rules = document(project.destination_policy("lake"), "lifecycle.json")["rules"]
    assert [(r["name"], r["definition"]["filters"]["prefixMatch"]) for r in rules] == [
        ("lading-lake-tests", ["lake/out/_lading_test/"]),
        ("lading-lake-removed-1", ["lake/out/test/shop/orders/tenant="]),
        ("lading-lake-tiers-1", ["lake/out/test/shop/orders/tenant="]),
    ]
    days = "daysAfterModificationGreaterThan"
    assert rules[2]["definition"]["actions"] == {
        "baseBlob": {"tierToCool": {days: 30}, "tierToCold": {days: 90}}
    }
    asked = project.destination_policy("lake", archive=True, delete_after=400)
    assert document(asked, "lifecycle.json")["rules"][2]["definition"]["actions"] == {
        "baseBlob": {
            "tierToCool": {days: 30},
            "tierToCold": {days: 90},
            "tierToArchive": {days: 365},
            "delete": {days: 400},
        }
    }
