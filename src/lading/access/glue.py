"""AWS Glue: the policy of the exporter's role, for its tables in one catalogue.

The calls are those that pyiceberg's GlueCatalog makes for `channels/iceberg.py`. Each needs a right to what it is about
and to all that this lies in: "Specifying AWS Glue resource ARNs" (AWS Glue Developer Guide).
"""

from __future__ import annotations

from collections.abc import Sequence

from lading.access.aws import Statement, account_of, partition, role_policy, sid
from lading.access.rights import Paper, Tables
from lading.channels.catalogues import GlueOptions

OF_DATABASES = ("glue:CreateDatabase", "glue:GetDatabase", "glue:GetDatabases")
OF_TABLES = ("glue:CreateTable", "glue:GetTable", "glue:UpdateTable")


def paper(
    catalogue: str, options: GlueOptions, tables: Sequence[Tables], principal: str | None
) -> tuple[Paper, dict[str, str], list[str]]:
    """As `role_policy`. ``principal``: the exporter, where AWS knows it."""
    region, own = options.region or "REGION", account_of(principal)
    account = options.catalog_id or own or "ACCOUNT"
    root = f"arn:{partition(options.region)}:glue:{region}:{account}:"
    above = [f"{root}catalog", *dict.fromkeys(f"{root}database/{each.namespace}" for each in tables)]
    named = [f"{root}table/{each.namespace}/{each.pattern}" for each in tables]
    statements: list[Statement] = [
        {"Sid": sid(catalogue, what), "Effect": "Allow", "Action": list(actions), "Resource": resources}
        for what, actions, resources in (
            ("Databases", OF_DATABASES, above),
            ("Tables", OF_TABLES, [*above, *named]),
        )
    ]
    made, fill_in, notes = role_policy(
        f"glue-policy-{catalogue}.json",
        f"Policy of the exporter's role at AWS Glue, for the catalogue {catalogue}",
        f"lading-{catalogue}",
        statements,
        principal,
    )
    if account == "ACCOUNT":
        fill_in |= {"ACCOUNT": "the account of the exporter's role, 12 digits"}
    if region == "REGION":
        fill_in |= {"REGION": f"the region of the catalogue {catalogue}"}
    if options.catalog_id not in (None, own):
        notes.append(
            f"The catalogue {catalogue} is of the account {account}: where the exporter's role is of another one, the "
            "policy of that account's Data Catalog (aws glue put-resource-policy) must allow it the same."
        )
    return made, fill_in, notes
