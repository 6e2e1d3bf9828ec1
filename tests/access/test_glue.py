# D11 S1
"""The policy at AWS Glue: which tables of which catalogue; and that AWS's grammar takes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
from destinations import document
from moto import mock_aws
from tables import Shop

ROLE = "arn:aws:iam::444455556666:role/exporter"
FILE = "glue-policy-tables.json"
ROOT = "arn:aws:glue:eu-west-1:444455556666:"


def shop(root: Path, lake: str = "s3://lake/out", **glue: Any) -> Shop:
    made = Shop(root, {"type": "glue", "url": None, "region": "eu-west-1", **glue}, lake={"url": lake})
    made.export()
    return made


def resources(told: Any) -> dict[str, list[str]]:
    return {each["Sid"]: each["Resource"] for each in document(told, FILE)["Statement"]}


def test_rights_are_for_the_tables_of_these_exports_alone(tmp_path: Path) -> None:
    told = shop(tmp_path).project().destination_policy("lake", principal=ROLE)
    above = [f"{ROOT}catalog", f"{ROOT}database/shop_test"]
    assert resources(told) == {
        "TablesDatabases": above,
        "TablesTables": [*above, f"{ROOT}table/shop_test/orders_v1__*"],
    }
    assert told["fill_in"] == {}
    (apply,) = (each["apply"] for each in told["documents"] if each["file"] == FILE)
    assert "--role-name exporter --policy-name lading-tables " in apply


def test_without_tenants_there_is_one_table(tmp_path: Path) -> None:
    made = shop(tmp_path, namespace="analytics")
    made.export(tenants=None)
    told = made.project().destination_policy("lake", principal=ROLE)
    assert resources(told)["TablesTables"][1:] == [
        f"{ROOT}database/analytics",
        f"{ROOT}table/analytics/orders_v1__default",
    ]


def test_what_nobody_says_is_left_to_fill_in(tmp_path: Path) -> None:
    told = shop(tmp_path, region=None).project().destination_policy("lake")
    words = {"ROLE", "ACCOUNT", "REGION"}
    assert set(told["fill_in"]) == words
    assert set(re.findall(r"\b[A-Z]{4,}\b", json.dumps(told["documents"]))) >= words
    assert resources(told)["TablesTables"][0] == "arn:aws:glue:REGION:ACCOUNT:catalog"


def test_another_account_s_catalogue_must_allow_it_too(tmp_path: Path) -> None:
    made = shop(tmp_path, catalog_id="111122223333")
    told = made.project().destination_policy("lake", principal=ROLE)
    assert resources(told)["TablesTables"][0] == "arn:aws:glue:eu-west-1:111122223333:catalog"
    assert "aws glue put-resource-policy" in " ".join(told["notes"])
    same = made.project().destination_policy("lake", principal="111122223333")
    assert "put-resource-policy" not in " ".join(same["notes"])


def test_tables_whose_files_are_at_another_provider_are_at_glue_all_the_same(tmp_path: Path) -> None:
    told = shop(tmp_path, "gs://lake/out").project().destination_policy("lake")
    assert told["provider"] == "google"
    assert "TablesTables" in resources(told)
    assert set(told["fill_in"]) == {"PROJECT", "EXPORTER", "ROLE", "ACCOUNT"}


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_other_partitions_have_arns_of_their_own(tmp_path: Path, region: str) -> None:
    told = shop(tmp_path, region=region).project().destination_policy("lake")
    assert resources(told)["TablesTables"][0] in (
        "arn:aws-cn:glue:cn-north-1:ACCOUNT:catalog",
        "arn:aws-us-gov:glue:us-gov-west-1:ACCOUNT:catalog",
    )


def test_a_catalogue_elsewhere_needs_nothing_of_glue(tmp_path: Path) -> None:
    made = Shop(tmp_path, lake={"url": "s3://lake/out"})
    made.export()
    assert "glue" not in json.dumps(made.project().destination_policy("lake")["documents"])


@mock_aws
def test_aws_takes_the_policy_as_it_is(tmp_path: Path) -> None:
    iam = boto3.Session("testing", "testing", region_name="eu-west-1").client("iam")
    policy = document(shop(tmp_path).project().destination_policy("lake", principal=ROLE), FILE)
    iam.create_policy(PolicyName="lading", PolicyDocument=json.dumps(policy))  # moto checks IAM's grammar
