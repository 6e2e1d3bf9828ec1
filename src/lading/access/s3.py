"""S3: a policy of the exporter's role, one of the bucket, a statement of the key, and lifecycle rules.

Actions and conditions are those of "Actions, resources, and condition keys for Amazon S3" (Service Authorization
Reference); what uploads in parts need of a key, of "Using server-side encryption with AWS KMS keys" (S3 User Guide).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lading.access.aws import PRINCIPAL, Statement, ordered, partition, policy, role_policy, sid
from lading.access.rights import (
    DAYS_OF_REMOVED,
    DAYS_OF_TESTS,
    DAYS_OF_UPLOADS,
    TEST,
    TIERS,
    Paper,
    Papers,
    Rights,
    Wishes,
    lifecycle,
)
from lading.errors import InvalidProject
from lading.stores.object_options import ENCRYPTIONS, ObjectOptions

LEAST_MOVED = (
    131_072  # bytes: smaller objects cost more in the other classes, and markers and manifests are smaller
)
CLASSES = ("STANDARD_IA", "GLACIER_IR")  # both are read at once
ARCHIVE = "DEEP_ARCHIVE"
_KEY = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(key|alias)/[\w/-]+")


def papers(
    store: str, options: ObjectOptions, asked: Rights, wishes: Wishes, others: Mapping[str, str]
) -> Papers:
    """Raises InvalidProject for a principal that is none, and as `lifecycle` does."""
    principal = wishes.principal or options.role_arn
    if wishes.principal is not None and not PRINCIPAL.fullmatch(wishes.principal):
        raise InvalidProject(
            f"--principal takes an ARN of AWS for {options.url}, not {wishes.principal!r}.",
            hint="Such as arn:aws:iam::111122223333:role/exporter.",
        )
    bucket = _Bucket(store, options)
    role, fill_in, notes = role_policy(
        "role-policy.json",
        "Policy of the exporter's role",
        f"lading-{store}",
        [*bucket.grants(asked), *bucket.key_of_role()],
        principal,
    )
    rules, of_rules = bucket.rules(asked, wishes, others)
    statements, of_policy = bucket.policy(asked, wishes.principal)
    name = options.place.bucket
    made = [role]
    if statements:
        made.append(
            Paper(
                "bucket-policy.json",
                "Policy of the bucket",
                f"aws s3api put-bucket-policy --bucket {name} --policy file://bucket-policy.json",
                policy(statements),
            )
        )
    if bucket.key is not None:
        if principal is None:
            fill_in |= {"ACCOUNT": "the account of the exporter's role, 12 digits"}
        exporter = principal or f"arn:{bucket.partition}:iam::ACCOUNT:role/ROLE"
        made.append(
            Paper(
                "key-policy-statement.json",
                "Statement for the policy of the key",
                f"aws kms put-key-policy --key-id {bucket.key} --policy file://key-policy.json, which holds it beside "
                "what the key's policy says already",
                ordered(bucket.key_statement(exporter)),
            )
        )
    made.append(
        Paper(
            "lifecycle.json",
            "Lifecycle rules of the bucket",
            f"aws s3api put-bucket-lifecycle-configuration --bucket {name} "
            "--lifecycle-configuration file://lifecycle.json",
            {"Rules": rules},
        )
    )
    notes = [*of_policy, *notes]
    if asked.absent:
        notes.append(
            "S3 says that an object is not there only to who may list the bucket, and such a request has no prefix; "
            f"so {bucket.sid('Absent')} allows to list all names of the bucket, though no content. Give the store a "
            "bucket of its own where that tells too much."
        )
    return Papers("s3", tuple(made), fill_in, (*notes, *of_rules))


class _Bucket:
    def __init__(self, store: str, options: ObjectOptions) -> None:
        self._store, self._options = store, options
        self.partition = partition(options.region)
        place = options.place
        self._prefix = f"{place.prefix}/" if place.prefix else ""
        self.arn = f"arn:{self.partition}:s3:::{place.bucket}"

    def sid(self, what: str) -> str:
        return sid(self._store, what)

    # --- what is allowed

    def grants(self, asked: Rights) -> list[Statement]:
        of_objects = {
            "Write": ("s3:PutObject", asked.write),
            "GiveUp": ("s3:AbortMultipartUpload", asked.upload),
            "Read": ("s3:GetObject", asked.read),
            "Delete": ("s3:DeleteObject", asked.delete),
        }
        found: list[Statement] = [
            {
                "Sid": self.sid(name),
                "Effect": "Allow",
                "Action": [action],
                "Resource": self._objects(patterns),
            }
            for name, (action, patterns) in of_objects.items()
            if patterns
        ]
        listing: Statement = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [self.arn]}
        if asked.list:
            names = [self._name(pattern) for pattern in asked.list]
            found.append(
                {"Sid": self.sid("List"), **listing, "Condition": {"StringLike": {"s3:prefix": names}}}
            )
        if asked.absent:
            found.append({"Sid": self.sid("Absent"), **listing, "Condition": {"Null": {"s3:prefix": "true"}}})
        return found

    def _objects(self, patterns: Iterable[str]) -> list[str]:
        return [f"{self.arn}/{self._name(pattern)}" for pattern in patterns]

    def _name(self, pattern: str) -> str:
        """Literal ``*``, ``?`` and ``$`` of the prefix as policies write them (IAM User Guide, "Policy variables")."""
        return re.sub(r"[*?$]", lambda match: f"${{{match[0]}}}", self._prefix) + pattern

    # --- the key

    @property
    def _sse(self) -> str | None:
        sse = self._options.server_side_encryption
        return ENCRYPTIONS[sse.type][1] if sse is not None else None

    @property
    def key(self) -> str | None:
        """A key of one's own in AWS KMS; what serves other addresses has no policies of AWS."""
        sse, endpoint = self._options.server_side_encryption, self._options.endpoint
        host = (endpoint or "").partition("://")[2].partition("/")[0].partition(":")[0]
        elsewhere = bool(endpoint) and not re.search(r"\.amazonaws\.com(\.cn)?$", host)
        return None if sse is None or elsewhere else sse.key

    def _key_use(self) -> Statement:
        """GenerateDataKey for each object; Decrypt as well, since whoever sends an object in parts needs both."""
        region = self._options.region or "*"
        domain = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        context = [self.arn, f"{self.arn}/{self._name('*')}"]
        return {
            "Effect": "Allow",
            "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
            "Condition": {
                "StringLike": {
                    "kms:ViaService": f"s3.{region}.{domain}",
                    "kms:EncryptionContext:aws:s3:arn": context,
                }
            },
        }

    def key_of_role(self) -> list[Statement]:
        if self.key is None:
            return []
        use = {"Sid": self.sid("Key"), **self._key_use()}
        region = self._options.region or "*"
        if alias := re.search(r"(?:^|:)(alias/.*)", self.key):
            owner = self.key.removesuffix(alias[1]) if _KEY.fullmatch(self.key) else None
            use["Resource"] = [f"{owner or f'arn:{self.partition}:kms:{region}:*:'}key/*"]
            use["Condition"] = {
                **use["Condition"],
                "ForAnyValue:StringEquals": {"kms:ResourceAliases": alias[1]},
            }
        else:
            arn = self.key if self.key.startswith("arn:") else None
            use["Resource"] = [arn or f"arn:{self.partition}:kms:{region}:*:key/{self.key}"]
        return [use]

    def key_statement(self, exporter: str) -> Statement:
        return {
            "Sid": self.sid("Exporter"),
            "Principal": {"AWS": exporter},
            "Resource": "*",  # in the policy of a key: this key
            **self._key_use(),
        }

    # --- what is refused

    def policy(self, asked: Rights, principal: str | None) -> tuple[list[Statement], list[str]]:
        """The bucket's statements, and what to know of them."""
        notes = []
        found = [
            {**grant, "Sid": f"{grant['Sid']}ByPrincipal", "Principal": {"AWS": principal}}
            for grant in (self.grants(asked) if principal else ())
        ]
        refusal = {"Effect": "Deny", "Principal": "*"}
        if self._options.allow_http:
            notes.append(f"allow_http is set for {self._store}, so requests without TLS are not refused.")
        else:
            everything = [self.arn, f"{self.arn}/{self._name('*')}"]
            without = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
            found.append(
                {
                    "Sid": self.sid("OnlyTls"),
                    **refusal,
                    "Action": "s3:*",
                    "Resource": everything,
                    **without,
                }
            )
        if self._sse is not None:
            put = {**refusal, "Action": "s3:PutObject", "Resource": self._objects(asked.write)}
            header = "s3:x-amz-server-side-encryption"
            other = {"Condition": {"StringNotEquals": {header: self._sse}}}
            found.append({"Sid": self.sid("OnlyEncrypted"), **put, **other})
            if self.key is not None and _KEY.fullmatch(self.key) and ":key/" in self.key:
                other = {"Condition": {"StringNotEquals": {f"{header}-aws-kms-key-id": self.key}}}
                found.append({"Sid": self.sid("OnlyThisKey"), **put, **other})
            elif self._sse.startswith("aws:kms"):
                notes.append(
                    "Objects under another key are not refused: S3 compares keys by their full ARN. Name it in "
                    f"stores.{self._store}.server_side_encryption.key."
                )
        return found, notes

    # --- lifecycle

    def rules(
        self, asked: Rights, wishes: Wishes, others: Mapping[str, str]
    ) -> tuple[list[Statement], tuple[str, ...]]:
        found: list[Statement] = []

        def rule(name: str, prefix: str, what: Statement, least: int | None = None) -> None:
            where: Statement = {"Prefix": f"{self._prefix}{prefix}"}
            if least is not None:
                where = {"And": {**where, "ObjectSizeGreaterThan": least - 1}}
            found.append({"ID": f"lading-{self._store}-{name}", "Status": "Enabled", "Filter": where, **what})

        plan = lifecycle(asked, wishes, self._prefix, others)
        if asked.upload:
            days = {"DaysAfterInitiation": DAYS_OF_UPLOADS}
            rule("uploads", "", {"AbortIncompleteMultipartUpload": days})
        rule("tests", TEST.rstrip("*"), {"Expiration": {"Days": DAYS_OF_TESTS}})
        for number, prefix in enumerate(plan.removed, 1):
            gone = {"NoncurrentVersionExpiration": {"NoncurrentDays": DAYS_OF_REMOVED}}
            rule(f"removed-{number}", prefix, {**gone, "Expiration": {"ExpiredObjectDeleteMarker": True}})
        for number, prefix in enumerate(plan.tiers, 1):
            ends = wishes.delete_after if prefix in plan.ended else None
            classes = (*CLASSES, *((ARCHIVE,) if prefix in plan.archived else ()))
            moves = [
                {"Days": days, "StorageClass": name}
                for days, name in zip(TIERS, classes, strict=False)
                if ends is None or days < ends
            ]
            if moves:
                rule(f"tiers-{number}", prefix, {"Transitions": moves}, LEAST_MOVED)
        for number, prefix in enumerate(plan.ended, 1):
            rule(f"ended-{number}", prefix, {"Expiration": {"Days": wishes.delete_after}})
        return found, plan.notes
