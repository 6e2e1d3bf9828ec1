# D11 D22
"""Policies of S3: which names, which conditions; and that AWS's grammar takes them."""

from __future__ import annotations

import json
import re
from typing import Any

import boto3
import pytest
from destinations import Make, document
from moto import mock_aws

from lading import InvalidProject

KEY = "arn:aws:kms:eu-west-1:111122223333:key/8a1c6f4e-0000-4000-8000-1234567890ab"
ROLE = "arn:aws:iam::444455556666:role/exporter"
LAKE = {"url": "s3://lake/out", "region": "eu-west-1"}
SSE = {"server_side_encryption": {"type": "sse-kms", "key": KEY}}
FOLDER = "test/shop/orders/tenant=*/*"


def statements(told: Any, file: str = "role-policy.json") -> dict[str, Any]:
    return {each["Sid"]: each for each in document(told, file)["Statement"]}


def names(told: Any, sid: str) -> list[str]:
    return [each.removeprefix("arn:aws:s3:::lake/out/") for each in statements(told)[sid]["Resource"]]


def test_appended_deliveries_are_never_read_back(make: Make) -> None:
    told = make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake")
    assert {action for s in statements(told).values() for action in s["Action"]} == {
        "s3:PutObject",
        "s3:AbortMultipartUpload",
        "s3:ListBucket",
        "s3:DeleteObject",
    }
    assert names(told, "LakeWrite") == [FOLDER, "_lading_test/*"]
    assert names(told, "LakeGiveUp") == [FOLDER]
    assert statements(told)["LakeList"]["Condition"] == {"StringLike": {"s3:prefix": [f"out/{FOLDER}"]}}


def test_write_only_neither_lists_nor_deletes(make: Make) -> None:
    told = make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake", write_only=True)
    assert list(statements(told)) == ["LakeWrite", "LakeGiveUp"]


def test_write_only_and_keep_contradict_each_other(make: Make) -> None:
    project = make({"lake": LAKE}, {"whole": {"keep": 2}})
    with pytest.raises(InvalidProject, match="whole keeps 2 deliveries"):
        project.destination_policy("lake", write_only=True)


def test_a_journal_is_never_write_only(make: Make) -> None:
    project = make({"journal": {"url": "s3://lake/out"}}, {"to_lake": {}})
    with pytest.raises(InvalidProject, match="keeps the journal, which is read and listed"):
        project.destination_policy("journal", write_only=True)


def test_a_pointer_is_read_and_its_absence_told(make: Make) -> None:
    told = make({"lake": LAKE}, {"whole": {}}).destination_policy("lake")
    assert names(told, "LakeRead") == ["test/shop/orders/tenant=*/whole/latest.json"]
    assert statements(told)["LakeAbsent"]["Condition"] == {"Null": {"s3:prefix": "true"}}
    assert "LakeAbsent allows to list all names" in " ".join(told["notes"])


def test_a_pointer_that_environments_could_share_is_read_with_its_manifest(make: Make) -> None:
    told = make({"lake": LAKE}, {"whole": {"layout": {"preset": "svc002"}}}).destination_policy("lake")
    assert names(told, "LakeRead") == ["*/v1/whole/latest.json", "*/v1/*/manifest_*.json"]


def test_parts_are_read_only_to_be_used_again(make: Make) -> None:
    immutable = {
        "immutable_rows": True,
        "tenants": None,
        "layout": {"preset": "lake"},
        "source": {"connection": "incoming", "table": "orders"},
        "window": {"column": "at", "clock": "transaction", "every": "1 month", "start": "2024-01-01"},
    }
    project = make({"lake": LAKE}, {"to_lake": immutable})
    assert names(project.destination_policy("lake"), "LakeRead") == ["test/shop/orders/tenant=default/*"]
    assert "LakeRead" not in statements(project.destination_policy("lake", write_only=True))


def test_a_destination_of_one_tenant_takes_nothing_of_others(make: Make) -> None:
    own = {"url": "s3://lake/out"}
    project = make(
        {"lake": {"url": "s3://other"}, "own": own}, {"to_lake": {}, "to_svc": {}}, tenants={"a": "own"}
    )
    told = project.destination_policy("own")
    assert names(told, "OwnWrite") == ["test/shop/orders/tenant=a/*", "a/v1/*", "_lading_test/*"]


def test_a_policy_that_is_too_long_for_a_role_says_so(make: Make) -> None:
    tenants = {f"tenant-{n}": "own" for n in range(60)}
    told = make({"own": LAKE}, {"to_lake": {}}, tenants=tenants).destination_policy("own")
    assert "longer than the 10,240 characters" in " ".join(told["notes"])


def test_an_export_that_is_not_valid_is_said_to_be_left_out(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}, "to_svc": {"destination": "nowhere"}})
    assert "to_svc is left out: its files are not valid." in project.destination_policy("lake")["notes"]


def test_copies_are_destinations(make: Make) -> None:
    project = make({"lake": LAKE, "copy": LAKE}, {"to_lake": {"copies": ["copy"]}})
    assert names(project.destination_policy("copy"), "CopyWrite") == [FOLDER, "_lading_test/*"]


def test_a_custom_path_is_held_where_it_is_fixed(make: Make) -> None:
    path = {"path": "{yyyy}/for-{tenant}/{yyyymmdd}_{HHMMSS}_{run}-a{attempt}"}
    told = make({"lake": LAKE}, {"to_lake": {"layout": path}}).destination_policy("lake")
    assert names(told, "LakeWrite")[0] == "*/for-*/*"


def test_characters_of_the_prefix_that_policies_know_are_literal(make: Make) -> None:
    told = make({"lake": {"url": "s3://lake/a*b$c"}}, {"to_lake": {}}).destination_policy("lake")
    assert statements(told)["LakeWrite"]["Resource"][0] == f"arn:aws:s3:::lake/a${{*}}b${{$}}c/{FOLDER}"


def test_a_journal_loses_nothing(make: Make) -> None:
    told = make({"journal": {"url": "s3://lake/out"}}, {"to_lake": {}}).destination_policy("journal")
    assert names(told, "JournalWrite") == names(told, "JournalRead") == ["shop/test/*", "_lading_test/*"]
    assert names(told, "JournalDelete") == ["_lading_test/*"]
    assert [rule["ID"] for rule in document(told, "lifecycle.json")["Rules"]] == ["lading-journal-tests"]


@pytest.mark.parametrize(
    ("store", "said"),
    [("raw", "is no bucket"), ("spare", "No export delivers to spare"), ("lak", 'did you mean "lake"')],
)
def test_what_is_no_destination_is_refused(make: Make, store: str, said: str) -> None:
    project = make({"lake": LAKE, "spare": {"url": "s3://spare"}}, {"to_lake": {}})
    with pytest.raises(InvalidProject, match=said):
        project.destination_policy(store)


# --- the bucket and its key


def test_requests_without_tls_and_objects_without_the_key_are_refused(make: Make) -> None:
    told = make({"lake": LAKE | SSE}, {"to_lake": {}}).destination_policy("lake")
    found = statements(told, "bucket-policy.json")
    assert {each["Effect"] for each in found.values()} == {"Deny"}
    assert found["LakeOnlyTls"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    header = "s3:x-amz-server-side-encryption"
    assert found["LakeOnlyEncrypted"]["Condition"] == {"StringNotEquals": {header: "aws:kms"}}
    assert found["LakeOnlyThisKey"]["Condition"] == {"StringNotEquals": {f"{header}-aws-kms-key-id": KEY}}
    use = statements(told)["LakeKey"]
    assert (use["Action"], use["Resource"]) == (["kms:GenerateDataKey", "kms:Decrypt"], [KEY])
    assert use["Condition"]["StringLike"]["kms:ViaService"] == "s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("key", "resource"),
    [
        ("8a1c6f4e", "arn:aws:kms:eu-west-1:*:key/8a1c6f4e"),
        ("alias/lake", "arn:aws:kms:eu-west-1:*:key/*"),
        ("arn:aws:kms:eu-west-1:111122223333:alias/lake", "arn:aws:kms:eu-west-1:111122223333:key/*"),
    ],
)
def test_a_key_that_is_no_arn_is_allowed_and_said_not_to_be_enforced(
    make: Make, key: str, resource: str
) -> None:
    sse = {"server_side_encryption": {"type": "sse-kms", "key": key}}
    told = make({"lake": LAKE | sse}, {"to_lake": {}}).destination_policy("lake")
    use = statements(told)["LakeKey"]
    assert use["Resource"] == [resource]
    if "alias/" in key:
        assert use["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": "alias/lake"}
    assert "LakeOnlyThisKey" not in statements(told, "bucket-policy.json")
    assert "Objects under another key are not refused" in " ".join(told["notes"])


def test_a_key_of_another_service_needs_nothing_of_aws(make: Make) -> None:
    minio = {"endpoint": "http://127.0.0.1:9000", "allow_http": True}
    sse = {"server_side_encryption": {"type": "sse-kms", "key": "lading-key"}}
    told = make({"lake": LAKE | minio | sse}, {"to_lake": {}}).destination_policy("lake")
    assert "LakeKey" not in statements(told)
    assert list(statements(told, "bucket-policy.json")) == ["LakeOnlyEncrypted"]
    assert "requests without TLS are not refused" in " ".join(told["notes"])


def test_an_exporter_of_another_account_is_allowed_by_the_bucket_and_the_key(make: Make) -> None:
    project = make({"lake": LAKE | SSE}, {"to_lake": {}})
    told = project.destination_policy("lake", principal=ROLE)
    allowed = [s for s in statements(told, "bucket-policy.json").values() if s["Effect"] == "Allow"]
    own = [s for s in statements(told).values() if s["Action"][0].startswith("s3:")]
    assert [(s["Action"], s["Resource"], s["Principal"]) for s in allowed] == [
        (s["Action"], s["Resource"], {"AWS": ROLE}) for s in own
    ]
    assert document(told, "key-policy-statement.json")["Principal"] == {"AWS": ROLE}
    assert told["fill_in"] == {}
    with pytest.raises(InvalidProject, match="takes an ARN of AWS"):
        project.destination_policy("lake", principal="exporter")


@pytest.mark.parametrize(
    ("principal", "name"),
    [
        (ROLE, "exporter"),
        ("arn:aws:iam::444455556666:role/of/exports/exporter", "exporter"),
        ("arn:aws:sts::444455556666:assumed-role/exporter/session", "exporter"),
        ("arn:aws:iam::444455556666:user/exporter", "ROLE"),
        ("444455556666", "ROLE"),
        (None, "ROLE"),
    ],
)
@pytest.mark.parametrize("options", [{}, SSE], ids=["no-key", "key"])
def test_what_the_principal_tells_is_not_left_to_fill_in(
    make: Make, principal: str | None, name: str, options: dict[str, Any]
) -> None:
    told = make({"lake": LAKE | options}, {"to_lake": {}}).destination_policy("lake", principal=principal)
    assert told["documents"][0]["apply"].startswith(f"aws iam put-role-policy --role-name {name} ")
    left = {"ROLE"} if name == "ROLE" else set()
    assert set(told["fill_in"]) == (left | {"ACCOUNT"} if options and principal is None else left)
    assert set(re.findall(r"\b(?:ROLE|ACCOUNT)\b", json.dumps(told["documents"]))) == set(told["fill_in"])


def test_the_role_that_a_store_assumes_is_named(make: Make) -> None:
    told = make({"lake": LAKE | {"role_arn": ROLE}}, {"to_lake": {}}).destination_policy("lake")
    assert "--role-name exporter " in told["documents"][0]["apply"]
    assert told["fill_in"] == {}


@mock_aws
def test_aws_takes_the_documents_as_they_are(make: Make) -> None:
    session = boto3.Session("testing", "testing", region_name="eu-west-1")
    s3, iam, kms = (session.client(name) for name in ("s3", "iam", "kms"))
    s3.create_bucket(Bucket="lake", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    project = make({"lake": LAKE | SSE}, {"to_lake": {}, "whole": {}, "to_svc": {}})
    told = project.destination_policy("lake", principal=ROLE)
    role, bucket = document(told, "role-policy.json"), document(told, "bucket-policy.json")
    iam.create_policy(PolicyName="lading", PolicyDocument=json.dumps(role))  # moto checks IAM's grammar
    s3.put_bucket_policy(Bucket="lake", Policy=json.dumps(bucket))
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    statement = document(told, "key-policy-statement.json")
    kms.put_key_policy(
        KeyId=key,
        PolicyName="default",
        Policy=json.dumps({"Version": role["Version"], "Statement": [statement]}),
    )


# --- lifecycle


@mock_aws
def test_s3_takes_the_lifecycle_as_it_is(make: Make) -> None:
    s3 = boto3.Session("testing", "testing", region_name="us-east-1").client("s3")
    s3.create_bucket(Bucket="lake")
    project = make({"lake": LAKE}, {"to_lake": {}, "to_svc": {}})
    rules = document(project.destination_policy("lake", archive=True, delete_after=700), "lifecycle.json")
    s3.put_bucket_lifecycle_configuration(Bucket="lake", LifecycleConfiguration=rules)
    kept = s3.get_bucket_lifecycle_configuration(Bucket="lake")["Rules"]
    assert [rule["ID"] for rule in kept] == [rule["ID"] for rule in rules["Rules"]]


def rules_of(told: Any) -> dict[str, Any]:
    return {r["ID"].removeprefix("lading-lake-"): r for r in document(told, "lifecycle.json")["Rules"]}


def test_no_rule_touches_a_delivery_but_by_tiers_that_are_read_at_once(make: Make) -> None:
    rules = rules_of(make({"lake": LAKE}, {"to_lake": {}}).destination_policy("lake"))
    assert list(rules) == ["uploads", "tests", "removed-1", "tiers-1"]
    assert rules["uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert (rules["tests"]["Filter"], rules["tests"]["Expiration"]) == (
        {"Prefix": "out/_lading_test/"},
        {"Days": 1},
    )
    assert rules["removed-1"]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 30}
    assert rules["removed-1"]["Expiration"] == {"ExpiredObjectDeleteMarker": True}
    assert rules["tiers-1"]["Transitions"] == [
        {"Days": 30, "StorageClass": "STANDARD_IA"},
        {"Days": 90, "StorageClass": "GLACIER_IR"},
    ]
    assert rules["tiers-1"]["Filter"]["And"] == {
        "Prefix": "out/test/shop/orders/tenant=",
        "ObjectSizeGreaterThan": 131_071,
    }


def test_archives_and_ends_are_asked_for(make: Make) -> None:
    project = make({"lake": LAKE}, {"to_lake": {}})
    rules = rules_of(project.destination_policy("lake", archive=True, delete_after=400))
    assert rules["tiers-1"]["Transitions"][-1] == {"Days": 365, "StorageClass": "DEEP_ARCHIVE"}
    assert rules["ended-1"]["Expiration"] == {"Days": 400}
    rules = rules_of(project.destination_policy("lake", archive=True, delete_after=90))
    assert [move["Days"] for move in rules["tiers-1"]["Transitions"]] == [30]
    with pytest.raises(InvalidProject, match="1 or more"):
        project.destination_policy("lake", delete_after=0)


def test_the_newest_full_refresh_is_never_archived_nor_deleted(make: Make) -> None:
    project = make({"lake": LAKE}, {"whole": {}, "to_lake": {"layout": {"path": OWN}}})
    told = project.destination_policy("lake", archive=True, delete_after=400)
    rules = rules_of(told)
    ended = [r["Filter"]["Prefix"] for name, r in rules.items() if name.startswith("ended")]
    assert ended == ["out/mine/"]
    assert "(whole)" in " ".join(told["notes"])


OWN = "mine/{tenant}/{yyyymmdd}_{HHMMSS}_{run}-a{attempt}"


def test_a_journal_among_deliveries_is_spared_and_nothing_beside_it_deleted(make: Make) -> None:
    stores = {"lake": LAKE, "journal": {"url": "s3://lake/out/journal"}}
    project = make(stores, {"to_svc": {}})
    told = project.destination_policy("lake")
    assert list(rules_of(told)) == ["uploads", "tests"]
    assert "gets no rules by age: the journal" in " ".join(told["notes"])
    with pytest.raises(InvalidProject, match="the journal lies within"):
        project.destination_policy("lake", delete_after=30)
