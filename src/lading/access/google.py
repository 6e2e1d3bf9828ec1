"""Google Cloud Storage: custom roles, the bindings of the bucket, the grant of the key, and lifecycle rules.

Permissions are those of "IAM permissions for XML methods", which obstore calls; conditions those of "Attribute
reference for IAM Conditions" (Google Cloud documentation). To put an object again needs the permission to delete it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lading.access.rights import (
    ANY,
    DAYS_OF_REMOVED,
    DAYS_OF_TESTS,
    DAYS_OF_UPLOADS,
    TEST,
    TIERS,
    Lifecycle,
    Paper,
    Papers,
    Rights,
    Wishes,
    lifecycle,
    outermost,
)
from lading.errors import InvalidProject
from lading.stores.object_options import ObjectOptions

CLASSES = ("NEARLINE", "COLDLINE", "ARCHIVE")  # all are read at once
MOST_TERMS = 6  # of a condition, which has at most twelve logical operators
_PRINCIPAL = re.compile(r"(serviceAccount|user|group):[^\s@]+@[^\s@]+|(principal|principalSet)://\S+")


def papers(
    store: str, options: ObjectOptions, asked: Rights, wishes: Wishes, others: Mapping[str, str]
) -> Papers:
    """Raises InvalidProject for a principal that is none, and as `lifecycle` does."""
    if wishes.principal is not None and not _PRINCIPAL.fullmatch(wishes.principal):
        raise InvalidProject(
            f"--principal takes a member of Google Cloud for {options.url}, not {wishes.principal!r}.",
            hint="Such as serviceAccount:exporter@project.iam.gserviceaccount.com.",
        )
    place = options.place
    root = f"{place.prefix}/" if place.prefix else ""
    member = wishes.principal or "serviceAccount:EXPORTER@PROJECT.iam.gserviceaccount.com"
    plan = lifecycle(asked, wishes, root, others)
    roles, bindings = [], []
    fill_in = {"PROJECT": "the project's id"}
    if wishes.principal is None:
        fill_in["EXPORTER"] = "the exporter's service account"
    for what, permissions, terms in _grants(place.bucket, root, asked):
        name = f"lading_{re.sub(r'[^a-z0-9_]', '_', store[:48])}_{what}"  # 64 characters at most
        role = {"title": f"Lading: {what} of {store}", "stage": "GA", "includedPermissions": permissions}
        roles.append({"roleId": name, "role": role})
        binding = {"role": f"projects/PROJECT/roles/{name}", "members": [member]}
        bindings += [{**binding, **condition} for condition in _conditions(terms)]
    made = [
        Paper(
            "roles.json",
            "Custom roles",
            "for each: gcloud iam roles create ROLE_ID --project PROJECT --file ROLE.json, its role alone",
            {"roles": roles},
        ),
        Paper(
            "bucket-bindings.json",
            "Bindings of the bucket",
            f"add them to what `gcloud storage buckets get-iam-policy gs://{place.bucket}` says, then set-iam-policy",
            {"version": 3, "bindings": bindings},
        ),
    ]
    notes = list(plan.notes)
    if (sse := options.server_side_encryption) is not None:
        agent = "serviceAccount:service-PROJECT_NUMBER@gs-project-accounts.iam.gserviceaccount.com"
        fill_in["PROJECT_NUMBER"] = "the number of the bucket's project"
        use = {"role": "roles/cloudkms.cryptoKeyEncrypterDecrypter", "members": [agent]}
        made.append(
            Paper(
                "key-bindings.json",
                "Binding of the key, for the service agent of Cloud Storage: the exporter needs none",
                f"gcloud kms keys add-iam-policy-binding {sse.key} --member … --role …",
                {"bindings": [use]},
            )
        )
    made.append(
        Paper(
            "lifecycle.json",
            "Lifecycle rules of the bucket",
            f"gcloud storage buckets update gs://{place.bucket} --lifecycle-file lifecycle.json",
            {"lifecycle": {"rule": _rules(root, asked, wishes, plan)}},
        )
    )
    if wishes.write_only:
        notes.append(
            "storage.objects.delete stays in spite of --write-only: without it an object cannot be put again, which "
            "publishing does after a crash."
        )
    if asked.absent:
        notes.append(
            "Google says that an object is not there only to who may list the bucket; so list is not confined to "
            "prefixes. Give the store a bucket of its own where its names tell too much."
        )
    return Papers("google", tuple(made), fill_in, tuple(notes))


def _grants(bucket: str, root: str, asked: Rights) -> list[tuple[str, list[str], list[str]]]:
    """Roles: what they are for, their permissions, and terms of which one must hold; none where none need to."""
    again = [pattern for pattern in asked.write if pattern != f"{asked.journal}*"]
    kinds: list[tuple[str, list[str], tuple[str, ...]]] = [
        ("write", ["storage.objects.create"], asked.write),
        ("upload", ["storage.multipartUploads.abort", "storage.multipartUploads.create"], asked.upload),
        ("replace", ["storage.objects.delete"], tuple(dict.fromkeys((*again, *asked.delete)))),
        ("read", ["storage.objects.get"], asked.read),
    ]
    found = [(what, given, _named(bucket, root, patterns)) for what, given, patterns in kinds if patterns]
    if asked.absent:
        found.append(("list", ["storage.objects.list"], []))
    elif asked.list:
        listed = 'api.getAttribute("storage.googleapis.com/objectListPrefix", "")'
        prefixes = outermost(root + pattern.partition(ANY)[0] for pattern in asked.list)
        terms = [f"{listed}.startsWith({_text(prefix)})" for prefix in prefixes if prefix]
        found.append(("list", ["storage.objects.list"], terms))
    return found


def _named(bucket: str, root: str, patterns: tuple[str, ...]) -> list[str]:
    """Names cannot be matched in the middle: their beginning is held, and the end of a single object's."""
    name = f"projects/_/buckets/{bucket}/objects/"
    folders = outermost(root + p.partition(ANY)[0] for p in patterns if p.endswith(ANY))
    found = [f"resource.name.startsWith({_text(name + folder)})" for folder in folders]
    for pattern in patterns:
        start, any_, end = (root + pattern).partition(ANY)
        if pattern.endswith(ANY) or start.startswith(folders):
            continue
        end = end.rpartition(ANY)[2]
        if any_:
            starts = f"resource.name.startsWith({_text(name + start)})"
            found.append(f"({starts} && resource.name.endsWith({_text(end)}))")
        else:
            found.append(f"resource.name == {_text(name + start)}")
    return found


def _conditions(terms: list[str]) -> Iterator[dict[str, Any]]:
    """Of each binding; where there are too many terms for one, there are several bindings."""
    if not terms:
        yield {}
    for first in range(0, len(terms), MOST_TERMS):
        expression = " || ".join(terms[first : first + MOST_TERMS])
        yield {"condition": {"title": f"Names that Lading uses, from {first + 1}", "expression": expression}}


def _text(value: str) -> str:
    """A string of the Common Expression Language, which takes JSON's escapes."""
    return json.dumps(value, ensure_ascii=False)


def _rules(root: str, asked: Rights, wishes: Wishes, plan: Lifecycle) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def rule(action: dict[str, str], prefixes: tuple[str, ...], **condition: Any) -> None:
        names = [root + prefix for prefix in prefixes]
        if names and all(names):
            condition["matchesPrefix"] = names
        if names:
            found.append({"action": action, "condition": condition})

    delete = {"type": "Delete"}
    if asked.upload:
        rule({"type": "AbortIncompleteMultipartUpload"}, ("",), age=DAYS_OF_UPLOADS)
    rule(delete, (TEST.rstrip("*"),), age=DAYS_OF_TESTS)
    rule(delete, plan.removed, daysSinceNoncurrentTime=DAYS_OF_REMOVED)
    for days, name in zip(TIERS, CLASSES, strict=True):
        colder = ["STANDARD", *CLASSES[: CLASSES.index(name)]]
        rule(
            {"type": "SetStorageClass", "storageClass": name},
            plan.tiers,
            age=days,
            matchesStorageClass=colder,
        )
    rule(delete, plan.ended, age=wishes.delete_after)
    return found
