"""Azure Blob Storage: a role definition, its assignment with a condition on names, and a lifecycle policy.

Data actions are those of "Permissions for calling data operations", conditions those of "Actions and attributes for
Azure role assignment conditions for Azure Blob Storage" (Azure documentation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lading.access.rights import (
    DAYS_OF_REMOVED,
    DAYS_OF_TESTS,
    TEST,
    TIERS,
    Lifecycle,
    Paper,
    Papers,
    Rights,
    Wishes,
    lifecycle,
)
from lading.errors import InvalidProject
from lading.stores.object_options import ObjectOptions

ACTION = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
TIER_ACTIONS = ("tierToCool", "tierToCold")  # both are read at once
_PRINCIPAL = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def papers(
    store: str, options: ObjectOptions, asked: Rights, wishes: Wishes, others: Mapping[str, str]
) -> Papers:
    """Raises InvalidProject for a principal that is none, and as `lifecycle` does."""
    if wishes.principal is not None and not _PRINCIPAL.fullmatch(wishes.principal):
        raise InvalidProject(
            f"--principal takes the object id of a principal of Entra ID for {options.url}, "
            f"not {wishes.principal!r}.",
            hint="`az identity show` and `az ad sp show` tell it.",
        )
    place = options.place
    root = f"{place.prefix}/" if place.prefix else ""
    account = place.account or options.account or "STORAGE_ACCOUNT"
    scope = (
        "/subscriptions/SUBSCRIPTION/resourceGroups/RESOURCE_GROUP/providers/Microsoft.Storage/storageAccounts/"
        f"{account}/blobServices/default/containers/{place.bucket}"
    )
    fill_in = {
        "SUBSCRIPTION": "the subscription's id",
        "RESOURCE_GROUP": "the storage account's resource group",
    }
    if account == "STORAGE_ACCOUNT":
        fill_in[account] = "the storage account"
    if wishes.principal is None:
        fill_in["PRINCIPAL_ID"] = "the object id of the exporter's identity"
    plan = lifecycle(asked, wishes, root, others)
    needed = {"write": asked.write, "delete": asked.delete, "read": (*asked.read, *asked.list)}
    name = f"Lading {store}"
    role = {
        "Name": name,
        "IsCustom": True,
        "Description": f"What Lading does at {options.url}",
        "Actions": [],
        "NotActions": [],
        "DataActions": [f"{ACTION}/{what}" for what, patterns in needed.items() if patterns],
        "NotDataActions": [],
        "AssignableScopes": ["/subscriptions/SUBSCRIPTION/resourceGroups/RESOURCE_GROUP"],
    }
    assignment = {
        "principalId": wishes.principal or "PRINCIPAL_ID",
        "roleDefinitionName": name,
        "scope": scope,
        "conditionVersion": "2.0",
        "condition": _condition(root, asked),
    }
    made = (
        Paper(
            "role-definition.json",
            "Role definition",
            "az role definition create --role-definition @role-definition.json",
            role,
        ),
        Paper(
            "role-assignment.json",
            "Assignment of the role",
            "az role assignment create --assignee-object-id … --role … --scope … --condition-version 2.0 "
            "--condition …, by its fields",
            assignment,
        ),
        Paper(
            "lifecycle.json",
            "Lifecycle management of the storage account",
            f"az storage account management-policy create --account-name {account} "
            "--resource-group RESOURCE_GROUP --policy @lifecycle.json",
            {"rules": _rules(store, f"{place.bucket}/{root}", wishes, plan)},
        ),
    )
    notes = [
        *plan.notes,
        "A condition confines identities of Entra ID. An account_key or a sas_token of the account passes it by.",
        "What uploads that were given up have left, Azure removes by itself after a week.",
    ]
    return Papers("azure", made, fill_in, tuple(notes))


def _condition(root: str, asked: Rights) -> str:
    """Each clause: it is another action, or the name is one of those."""
    path, prefix = f"@Resource[{ACTION}:path]", f"@Request[{ACTION}:prefix]"
    lists = "SubOperationMatches{'Blob.List'}"
    clauses = [_clause(f"ActionMatches{{'{ACTION}/write'}}", path, root, asked.write)]
    if asked.delete:
        clauses.append(_clause(f"ActionMatches{{'{ACTION}/delete'}}", path, root, asked.delete))
    if asked.read or asked.list:  # one action, which reads and lists
        read = f"ActionMatches{{'{ACTION}/read'}}"
        clauses.append(_clause(f"{read} AND NOT {lists}", path, root, asked.read))
        clauses.append(_clause(f"{read} AND {lists}", prefix, root, asked.list))
    return " AND ".join(clauses)


def _clause(action: str, attribute: str, root: str, patterns: Iterable[str]) -> str:
    names = ", ".join(f"'{_literal(root)}{pattern}'" for pattern in patterns)
    allowed = f" OR ({attribute} ForAnyOfAnyValues:StringLike {{{names}}})" if names else ""
    return f"((!({action})){allowed})"


def _literal(text: str) -> str:
    r"""StringLike takes ``*`` and ``?``; a backslash takes their meaning away, and that of a quote."""
    return re.sub(r"([*?\\'])", r"\\\1", text)


def _rules(store: str, base: str, wishes: Wishes, plan: Lifecycle) -> list[dict[str, Any]]:
    """``base``: the container and the store's prefix, as rules name places."""
    found: list[dict[str, Any]] = []

    def rule(name: str, prefix: str, actions: dict[str, Any]) -> None:
        filters = {"blobTypes": ["blockBlob"], "prefixMatch": [f"{base}{prefix}"]}
        name = re.sub(r"[^A-Za-z0-9]", "-", f"lading-{store}-{name}")
        definition = {"filters": filters, "actions": actions}
        found.append({"enabled": True, "name": name, "type": "Lifecycle", "definition": definition})

    def after(days: int | None) -> dict[str, int | None]:
        return {"daysAfterModificationGreaterThan": days}

    rule("tests", TEST.rstrip("*"), {"baseBlob": {"delete": after(DAYS_OF_TESTS)}})
    for number, prefix in enumerate(plan.removed, 1):
        gone = {"delete": {"daysAfterCreationGreaterThan": DAYS_OF_REMOVED}}
        rule(f"removed-{number}", prefix, {"version": gone})
    for number, prefix in enumerate(plan.tiers, 1):
        ends = wishes.delete_after if prefix in plan.ended else None
        tiers = (*TIER_ACTIONS, *(("tierToArchive",) if prefix in plan.archived else ()))
        actions = {
            name: after(days) for days, name in zip(TIERS, tiers, strict=False) if ends is None or days < ends
        } | ({"delete": after(ends)} if ends is not None else {})
        rule(f"tiers-{number}", prefix, {"baseBlob": actions})
    return found
