"""`lading.yaml` and `tenants/`: what a project connects to, and to whom it delivers.

The sections of connections, stores, catalogues and keys belong to adapters, which validate them; they are kept as they
stand, with `${NAME}` replaced. Scalars may be overridden: by variables named ``LADING_…``, and those by flags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lading.documents import (
    Document,
    Duration,
    Findings,
    Loc,
    Name,
    Size,
    expand,
    load,
    nearest,
    validate,
    worded,
)
from lading.errors import InvalidProject, Problem

FILE = "lading.yaml"
SIGNERS = "ops/signers"
OVERRIDABLE = ("environment", "journal", "lease", "buffer_memory")

Raw = dict[str, Any]


def _lease(value: timedelta) -> timedelta:
    if not timedelta(seconds=1) <= value <= timedelta(hours=24):
        raise ValueError("must be between 1s and 24h")
    return value


class Settings(BaseModel):
    """`lading.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name = Field(description="The project's name: part of run ids and paths.")
    environment: Name = Field(description="Part of run ids, paths and manifests.")
    connections: dict[Name, Raw] = Field(
        default_factory=dict, repr=False, description="Databases; each names its `type`."
    )
    stores: dict[Name, Raw] = Field(
        default_factory=dict, repr=False, description="Where files go; each has a `url`."
    )
    catalogues: dict[Name, Raw] = Field(
        default_factory=dict, repr=False, description="Table catalogues; each names its `type`."
    )
    journal: str = Field(
        default="journal", description="The store that keeps claims, receipts, commits, evidence."
    )
    keys: Raw | None = Field(
        default=None,
        repr=False,
        description="The keyring: the `url` of a folder, and in `wrap` the service that wraps data keys, if any.",
    )
    signing: Raw | None = Field(default=None, repr=False, description="The keys that sign manifests.")
    lease: Annotated[Duration, AfterValidator(_lease)] = Field(
        default=timedelta(seconds=60), description="How long a silent owner is believed to live."
    )
    buffer_memory: Size = Field(
        default=256_000_000, ge=16_000_000, description="Bytes for batches and open writers together."
    )
    release_cycle: Duration | None = Field(
        default=None,
        description="How far releases of those who read the deliveries lie apart: a deprecated version of a contract "
        "is delivered for two of them at least.",
    )
    plugins: tuple[str, ...] = Field(default=(), description="Adapters of third parties that may be loaded.")
    retry: Raw = Field(default_factory=dict, description="How stores are tried again.")
    limit: Raw = Field(default_factory=dict, description="How much stores are asked at once.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found: list[tuple[Loc, str]] = [
            ((name,), f"{name} is empty: it takes the url of a folder")
            for name in ("keys", "signing")
            if name in self.model_fields_set and getattr(self, name) is None
        ]
        seen: dict[str, str] = {}
        for section in ("connections", "stores", "catalogues"):
            for name, raw in getattr(self, section).items():
                if name in seen:
                    found.append(
                        (
                            (section, name),
                            f'"{name}" is in {seen[name]} already; all three sections share one namespace',
                        )
                    )
                seen.setdefault(name, section)
                needed = "url" if section == "stores" else "type"
                if not isinstance(raw.get(needed), str) or raw[needed] in ("", "file://"):
                    found.append(((section, name), f"{section}.{name}.{needed} is missing"))
                if not isinstance(raw.get("protected", False), bool):
                    found.append(
                        ((section, name, "protected"), f"{section}.{name}.protected must be true or false")
                    )
        if self.journal not in self.stores:
            near = nearest(self.journal, self.stores)
            found.append(
                (("journal",), f'journal names no store: there is no "{self.journal}" in stores{near}')
            )
        if found:
            raise Findings(found)
        return self

    def tables_store(self, catalogue: str) -> str | None:
        """The store in which a catalogue's tables lie; None where it names none."""
        store = self.catalogues.get(catalogue, {}).get("store")
        return store if isinstance(store, str) and store in self.stores else None

    def protected(self, store: str) -> bool:
        """Whether the store enforces approvals whatever the environment says."""
        return bool(self.stores[store].get("protected", False))


def _public(key: str) -> str:
    if key.upper().startswith("AGE-SECRET-KEY-"):
        # Whoever put it there has shown it to all who read the project.
        raise ValueError(
            "is a private key, which belongs to the recipient alone: take it out, have another pair made, and put the "
            "public key there, age1…"
        )
    if not re.fullmatch("age1[0-9a-z]{58}", key):
        raise ValueError("is no public key of age: age1 and 58 letters and digits, as age-keygen tells it")
    return key


class Tenant(BaseModel):
    """One file of `tenants/`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(min_length=1, description="The tenant, as the data writes it.")
    destination: str | None = Field(default=None, description="Another destination than the export's.")
    active: bool = Field(default=True, description="False: nothing is delivered to it.")
    contract_major: int | None = Field(
        default=None,
        ge=0,
        description="Not available in this version: the contract major that this tenant takes.",
    )
    age: Annotated[str, AfterValidator(_public)] | None = Field(
        default=None,
        description="The recipient's public key, for exports with `encryption: {key: recipient}`: age1…, as age-keygen "
        "tells it.",
    )
    kms_key: str | None = Field(
        default=None,
        min_length=1,
        description="The tenant's own key, for exports with `encryption: {key: tenant}` where `keys.wrap` names a "
        "service, as that service names keys; else the one of `keys.wrap.key`.",
    )


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """What the files say, and the documents they came from."""

    root: Path
    settings: Settings
    document: Document  # of lading.yaml, expanded, for the adapters' sections
    tenants: Mapping[str, Tenant]
    tenant_documents: Mapping[str, Document]


def load_settings(
    root: Path, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None
) -> ProjectSettings:
    """`lading.yaml` and `tenants/` of the project in ``root``; ``overrides`` are flags (None: not given).

    Raises InvalidProject with the problems of all files.
    """
    problems: list[Problem] = []
    settings, document = None, None
    try:
        document = expand(load(root / FILE, root), environ)
        settings = _settings(document, environ, overrides or {})
    except InvalidProject as error:
        problems += error.problems
    tenants: dict[str, Tenant] = {}
    documents: dict[str, Document] = {}
    for path in sorted((root / "tenants").glob("*.y*ml")):
        try:
            found = expand(load(path, root), environ)
            tenant = validate(Tenant, found)
            if tenant.tenant in tenants:
                first = documents[tenant.tenant].path
                raise InvalidProject(
                    problems=[found.problem(f'"{tenant.tenant}" is in {first} already', "tenant")]
                )
            if tenant.kms_key is not None and settings is not None and "wrap" not in (settings.keys or {}):
                reason = f"kms_key is a service's key, and {FILE} names no service: it has no keys.wrap"
                raise InvalidProject(problems=[found.problem(reason, "kms_key")])
            tenants[tenant.tenant], documents[tenant.tenant] = tenant, found
        except InvalidProject as error:
            problems += error.problems
    if problems or settings is None or document is None:
        raise InvalidProject(problems=problems)
    return ProjectSettings(root, settings, document, tenants, documents)


def _settings(document: Document, environ: Mapping[str, str], overrides: Mapping[str, object]) -> Settings:
    """The file's settings; where they are right, the same with what flags, or else variables, put in their place."""
    settings = validate(Settings, document)
    data = dict(document.data)
    for key in OVERRIDABLE:
        origin, value = f"--{key.replace('_', '-')}", overrides.get(key)
        if value is None:
            origin = f"LADING_{key.upper()}"
            value = environ.get(origin)
        if value is None:
            continue
        data[key] = value
        try:
            settings = Settings.model_validate(data)
        except ValidationError as error:
            reason = worded(error.errors(include_url=False)[0])
            raise InvalidProject(problems=[Problem(origin, 0, reason)]) from None
    return settings
