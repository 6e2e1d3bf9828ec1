"""What documents of AWS share: how a policy is written, and what the ARN of its principal tells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lading.access.rights import Paper

Statement = dict[str, Any]
VERSION = "2012-10-17"
MOST_INLINE = 10_240  # characters of a role's own policies together, white space not counted
PRINCIPAL = re.compile(r"arn:aws[a-z-]*:(?:iam|sts)::([0-9]{12}):[\w+=,.@/:-]+|([0-9]{12})")


def role_policy(
    file: str, title: str, name: str, statements: Iterable[Statement], principal: str | None
) -> tuple[Paper, dict[str, str], list[str]]:
    """A policy within the exporter's role, called ``name``; the words in its command that are left to fill in, and what
    to know of it."""
    role, document = role_of(principal), policy(statements)
    apply = (
        f"aws iam put-role-policy --role-name {role or 'ROLE'} --policy-name {name} "
        f"--policy-document file://{file}"
    )
    notes = []
    if len(json.dumps(document, separators=(",", ":"))) > MOST_INLINE:
        notes.append(
            f"The role's policy is longer than the {MOST_INLINE:,} characters that policies within a role may have: "
            "divide its statements between several roles, or its exports between several stores."
        )
    fill_in = {} if role else {"ROLE": "the exporter's role, in the command"}
    return Paper(file, title, apply, document), fill_in, notes


def policy(statements: Iterable[Statement]) -> Statement:
    return {"Version": VERSION, "Statement": [ordered(each) for each in statements]}


def ordered(statement: Mapping[str, Any]) -> Statement:
    order = ("Sid", "Effect", "Principal", "Action", "Resource", "Condition")
    return {key: statement[key] for key in order if key in statement}


def sid(name: str, what: str) -> str:
    """Letters and digits, as a Sid must be; what goes by another name has others."""
    return "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]", name)) + what


def partition(region: str | None) -> str:
    name = region or ""
    return "aws-cn" if name.startswith("cn-") else "aws-us-gov" if name.startswith("us-gov-") else "aws"


def role_of(principal: str | None) -> str | None:
    """The name of the role whose ARN it is, or of the one that somebody has assumed; None for other principals."""
    kind, *names = (principal or "").rpartition(":")[2].split("/")
    found = {"role": names[-1:], "assumed-role": names[:1]}.get(kind)
    return found[0] if found else None


def account_of(principal: str | None) -> str | None:
    """The account that a principal belongs to, or is."""
    match = PRINCIPAL.fullmatch(principal or "")
    return (match[1] or match[2]) if match else None
