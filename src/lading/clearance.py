"""Whether rows may leave: the rules of `lading.policy` applied to a project's exports, and the approvals they need.

A protected destination takes nothing that is not approved: the export, the query that it reads, and the destination
itself, each as it stands in the project's files now. Personal data that no mask covers needs an approval of its export
wherever it goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lading.assemble import Workshop, is_local, versions
from lading.contract.lifecycle import RULES
from lading.documents import Loc, load, nearest, show_duration, unknown, validate
from lading.errors import IntegrityError, InvalidProject, Problem, Refused, sentence
from lading.evidence.approvals import FOLDER, Approval, Subject, granted, ungrantable
from lading.evidence.owners import FILE, Owners, Scope
from lading.evidence.sshsig import APPROVALS, verified_person
from lading.export.definition import Export, definition_bytes, resolved
from lading.export.identity import instant
from lading.manifest import canonical, sha256
from lading.policy import Decision, Exposure, Judgement, judge, told
from lading.project_files import ProjectFiles, gathered
from lading.run.job import Clearance
from lading.settings import SIGNERS
from lading.transforms.lineage import exposures, references, told_name

Standing = list[tuple[Subject, Approval | str]]
"""What needs an approval, and the one that it has, or why it has none."""


@dataclass(frozen=True)
class Gate:
    """Of one project. Reads `ops/` each time it is asked, since approvals come and go while a process lives."""

    project: ProjectFiles
    workshop: Workshop
    # The queries' text, by export, as a run has read it: what runs is judged, and not what stands in the file by then.
    queries: Mapping[str, str] = field(default_factory=dict)

    # --- what a run asks

    def clear(self, name: str, at: datetime | None = None) -> Clearance:
        """Why an export may deliver now. Raises Refused, with the rule and the columns, where it may not."""
        judgement = self._judgement(name)
        self._refuse_unprotected(name, judgement)
        standing = self.standing(name, at)
        missing = [outcome for _, outcome in standing if isinstance(outcome, str)]
        if missing:
            why = self._why_approved(name, judgement)
            raise Refused(
                f"{name}: {why}; {'; '.join(missing)}.",
                hint=f"`lading approvals {name}` shows what is needed, `lading approve` asks for it and grants it.",
            )
        approvals = [outcome for _, outcome in standing if isinstance(outcome, Approval)]
        return Clearance(
            tuple(decision.record() for decision in self._decisions(name, judgement, approvals)),
            tuple(map(self.signed, approvals)),
        )

    def signed(self, approval: Approval) -> dict[str, Any]:
        """An approval that counts, with the people who signed it: for the audit chain."""
        owners = self.owners()
        assert owners is not None
        return {**approval.record(), "signers": sorted(approval.signers(owners))}

    def needed(self, name: str) -> tuple[dict[str, Any], ...]:
        """What of an export needs an approval, and whether it has it. Raises Refused where none would help."""
        self._refuse_unprotected(name, self._judgement(name))
        return tuple(needed(name, *each) for each in self.standing(name))

    def standing(self, name: str, at: datetime | None = None) -> Standing:
        """What of an export needs an approval, and the one that it has, or why it has none."""
        return self.outcomes(list(self.subjects(name)), at)

    def outcomes(self, subjects: Sequence[Subject], at: datetime | None = None) -> Standing:
        """Each with its approval, or why it has none."""
        if not subjects:
            return []
        owners, approvals = self.owners(), self.approvals()
        now = at or datetime.now(UTC)
        return [(subject, granted(subject, approvals, owners, now)) for subject in subjects]

    def promotion(self, contract: str, channel: str, definition: Mapping[str, Any]) -> Subject:
        """The step of a contract's version, ``flights@1``, from one state to the next."""
        settings, dataset = self.project.files.settings, contract.partition("@")[0]
        name = f"{contract} {channel} {definition['to']}"
        scopes: tuple[Scope, ...] = (("datasets", dataset), ("channels", channel))
        return Subject(settings.name, settings.environment, "promotion", name, definition, scopes)

    def problems(self, name: str) -> list[Problem]:
        """What no approval mends."""
        document, export = self.project.documents[name], self.project.exports[name]
        broken = list(_broken(self._judgement(name), export))
        found = [document.problem(reason, *at) for at, reason in self._misspelt(name)] if broken else []
        found += [document.problem(f"{rule}: {remedy}", "contract") for rule, remedy in broken]
        contracts = [self.project.contracts[each.contract] for each in export.versions()]
        fields = list(dict.fromkeys(field.name for each in contracts for field in each.fields))
        for index, column in enumerate(export.not_secret or ()):
            if column not in fields:
                reason = unknown("field of the contract", column, fields)
                found.append(document.problem(f"not_secret: {reason}", "not_secret", index))
            sources = {field.column for each in contracts for field in each.fields if field.name == column}
            if len(sources) > 1:
                reason = f'the two majors call two things "{column}": {", ".join(sorted(sources))}'
                found.append(document.problem(f"not_secret: {reason}", "not_secret", index))
        return found

    def journal_problems(self, name: str) -> list[Problem]:
        """A protected destination beside a journal that may be lost with one machine."""
        settings, document = self.project.files.settings, self.project.files.document
        if not is_local(str(settings.stores[settings.journal]["url"])):
            return []
        if not any(map(settings.protected, self._stores(self.project.exports[name]))):
            return []
        reason = (
            f'a protected destination needs a journal that outlives this machine, and "{settings.journal}" is a folder '
            "of it: give that store the url of a bucket"
        )
        return [document.problem(reason, "journal")]

    # --- what is approved

    def subjects(self, name: str) -> Iterator[Subject]:
        """What of an export needs an approval, each as it stands in the files."""
        export, settings = self.project.exports[name], self.project.files.settings
        protected = [store for store in self._stores(export) if settings.protected(store)]
        if not protected and not self._judgement(name).unapproved:
            return
        yield self.subject("export", name)
        if protected and export.source.query is not None:
            yield self.subject("query", name)
        for store in protected:
            yield self.subject("destination", store)

    def subject(self, kind: str, name: str) -> Subject:
        """``name``: an export's, also for the query that it reads, or a store's."""
        settings = self.project.files.settings
        own = settings.name, settings.environment
        if kind == "destination":
            terms = {
                **self.workshop.store_terms(name),
                "protected": settings.protected(name),
                # What is used is noted there; another one would know nothing of it.
                "journal": {settings.journal: self.workshop.store_terms(settings.journal)},
            }
            return Subject(*own, "destination", name, terms, (("destinations", name),))
        export = self.project.exports[name]
        dataset: Scope = ("datasets", export.contract_name)
        channel: Scope = ("channels", export.channel)
        if kind == "query":
            assert export.source.query is not None
            query = {
                "file": export.source.query,
                "sql": self._sql(export),
                "connection": self._connection(export),
                "dataset": export.contract_name,
            }
            return Subject(*own, "query", export.source.query, query, (dataset,))
        return Subject(*own, "export", name, self._meaning(export), (dataset, channel))

    def _meaning(self, export: Export) -> dict[str, Any]:
        """What is delivered, to whom and where, and of which intervals."""
        tenanted = export.tenants is not None
        tenants = self.project.files.tenants if tenanted else {}
        own, *others = (
            resolved(each, self.project.contracts[each.contract].sha256, self._sql(export))
            for each in export.versions()
        )
        return {
            **own,
            **({"beside": others, "differs": sorted(export.beside.differs)} if export.beside else {}),
            "channel": export.channel,
            "connection": self._connection(export),
            "destinations": self._destinations(export),
            "discover": tenanted and bool(export.tenants and export.tenants.discover),
            "intervals": self._intervals(export),
            "tenants": {name: tenant.model_dump(mode="json") for name, tenant in tenants.items()},
            "unmasked_personal_data": list(self._judgement(export.name).unapproved),
        }

    def _intervals(self, export: Export) -> dict[str, Any] | None:
        window = export.window
        if window is None:
            return None
        return {
            "start": instant(window.start),
            "end": instant(window.end) if window.end else None,
            "every": f"{window.every.count} {window.every.unit}" if window.every else None,
            "timezone": window.timezone,
            "safety_lag": show_duration(window.safety_lag) if window.safety_lag is not None else None,
        }

    def _connection(self, export: Export) -> dict[str, Any]:
        name = export.source.connection
        return {name: self.workshop.connection_terms(name)}

    def _destinations(self, export: Export) -> dict[str, Any]:
        # A protected one is approved for itself.
        protected = self.project.files.settings.protected
        found: dict[str, Any] = {
            s: "protected" if protected(s) else self.workshop.store_terms(s) for s in self._stores(export)
        }
        if export.channel == "snapshot":
            found[export.destination] = self.workshop.catalogue_terms(export.destination)
        return found

    def _sql(self, export: Export) -> str | None:
        if export.source.query is None:
            return None
        if export.name in self.queries:
            return self.queries[export.name]
        return (self.project.files.root / export.source.query).read_text(encoding="utf-8")

    def _stores(self, export: Export) -> list[str]:
        """Every store that an export may deliver to; of tables, the one in which they lie."""
        if export.channel == "snapshot":
            store = self.project.files.settings.tables_store(export.destination)
            return [store] if store is not None else []
        tenants = self.project.files.tenants.values() if export.tenants is not None else ()
        own = (tenant.destination for tenant in tenants if tenant.destination)
        return list(dict.fromkeys((export.destination, *export.copies, *own)))

    # --- rules

    def _judgement(self, name: str) -> Judgement:
        export, document = self.project.exports[name], self.project.documents[name]
        delivered = versions(export, document, self.project.contracts)
        # What two majors say alike of a column is judged once, and what they say otherwise for each.
        columns = tuple(dict.fromkeys(column for each in delivered for column in exposures(*each)))
        return judge(columns, self._under_own_keys(export), export.not_secret or ())

    def _under_own_keys(self, export: Export) -> bool:
        """Whether every file is encrypted under a key that is the recipient's own: their key of age, or the one of a
        service that their file of tenants/ names. Who is only met in the data has none."""
        if export.encryption is None:
            return False
        if export.encryption.key == "recipient":
            return True
        served = [tenant for tenant in self.project.files.tenants.values() if tenant.active]
        named = export.tenants is not None and not export.tenants.discover and bool(served)
        return named and all(tenant.kms_key is not None for tenant in served)

    def _refuse_unprotected(self, name: str, judgement: Judgement) -> None:
        for rule, remedy in _broken(judgement, self.project.exports[name]):
            hints = (*(reason for _, reason in self._misspelt(name)), remedy)
            raise Refused(
                f"{name}: {rule}.",
                hint=" ".join(sentence(f"{hint[0].upper()}{hint[1:]}") for hint in hints),
            )

    def _misspelt(self, name: str) -> list[tuple[Loc, str]]:
        """What an `exclude` names that no contract does, where it looks like a column that then is not excluded."""
        export, document = self.project.exports[name], self.project.documents[name]
        delivered = versions(export, document, self.project.contracts)
        promised = {field.column for _, contract, _ in delivered for field in contract.fields}
        found = {
            each.at: f'exclude: there is no column "{each.column}" in {contract.path}{near}'
            for own, contract, transforms in delivered
            for each in references(own, transforms)
            if each.at[::2] == ("transforms", "exclude")
            and each.column not in promised
            and (near := told_name(each.column, contract, sorted(promised)))
        }
        return list(found.items())

    def _why_approved(self, name: str, judgement: Judgement) -> str:
        if judgement.unapproved:
            return (
                f"personal: {', '.join(judgement.unapproved)} would leave unmasked, which needs an approval"
            )
        export, settings = self.project.exports[name], self.project.files.settings
        protected = next(store for store in self._stores(export) if settings.protected(store))
        return f"protected: the destination {protected} takes only what is approved"

    def _decisions(self, name: str, judgement: Judgement, approvals: list[Approval]) -> Iterator[Decision]:
        yield from judgement.decisions
        by_kind: Mapping[str, str] = {approval.document["kind"]: approval.sha256 for approval in approvals}
        if judgement.unapproved:
            yield Decision("personal", judgement.unapproved, f"approval {by_kind['export']}")
        settings = self.project.files.settings
        if any(map(settings.protected, self._stores(self.project.exports[name]))):
            hashes = ", ".join(approval.sha256 for approval in approvals)
            yield Decision("protected", (), f"approvals {hashes}")

    # --- asking and granting

    def requests(
        self, what: str, standing: Standing, purpose: str, by: str, expires: datetime
    ) -> list[Approval]:
        """New approvals of what has none, which nobody has signed yet and which are not kept; none of what this person
        has pending for the same purpose and time. Raises InvalidProject, and Refused where nobody could grant them."""
        if not standing:
            return []
        owners, found = self.person(by), list[Approval]()
        for subject, pending in self.pending(standing):
            try:
                made = Approval.read(subject.request(purpose, by, datetime.now(UTC), expires), ())
            except ValueError as error:
                raise InvalidProject(f"{str(error)[0].upper()}{str(error)[1:]}.") from error
            if any(each.repeats(made) and by in each.signers(owners) for each in pending):
                continue
            if why := ungrantable(subject, by, owners):
                raise Refused(f"{what}: {why}.")
            found.append(made)
        return found

    def asked_for(self, what: str, standing: Standing, by: str) -> list[Approval]:
        """What somebody else has asked for and this person may sign, of subjects that have no approval. Raises
        Refused where only they themselves have asked, and InvalidProject where there is nothing."""
        owners = self.person(by)
        found: list[Approval] = []
        own: list[tuple[Subject, Approval]] = []
        for subject, pending in self.pending(standing):
            # The one that was asked for last is the one that people talk about.
            found += [each for each in pending if each.requested_by != by][-1:]
            own += [(subject, each) for each in pending if each.requested_by == by][-1:]
        if own and not found:
            ids = ", ".join(approval.id for _, approval in own)
            others = set[str]().union(*(subject.owners(owners) for subject, _ in own)) - {by}
            who = f" ({' or '.join(sorted(others))})" if others else ""
            raise Refused(f"{what}: you asked for {ids} yourself: another owner grants it{who}.")
        if not found:
            raise InvalidProject(
                f"{what}: there is nothing that {by} could grant: nothing is needed, or nobody else has asked for "
                "it as it stands now.",
                hint="`lading approvals` shows what is needed; with --purpose and --expires you ask for it.",
            )
        return found

    def pending(self, standing: Standing) -> list[tuple[Subject, list[Approval]]]:
        """What was asked for of subjects that have no approval, as they stand now: of each, the newest last."""
        approvals, now = self.approvals(), datetime.now(UTC)
        return [
            (
                subject,
                sorted(
                    (each for each in approvals if each.covers(subject) and each.expires > now),
                    key=lambda each: str(each.document["requested_at"]),
                ),
            )
            for subject, outcome in standing
            if isinstance(outcome, str)
        ]

    def steps_asked_for(self) -> list[tuple[str, str]]:
        """Contracts' versions of the project, ``flights@1``, and the channel of a step for which `ops/` holds an
        approval that has not ended."""
        settings, now = self.project.files.settings, datetime.now(UTC)
        names = [
            str(each.document["name"])
            for each in self.approvals()
            if each.document["kind"] == "promotion"
            and (each.document["project"], each.document["environment"])
            == (settings.name, settings.environment)
            and each.expires > now
        ]
        return [
            (contract, channel)
            for contract in sorted(self.project.contracts)
            for channel in sorted(RULES)
            if any(name.startswith(f"{contract} {channel} ") for name in names)
        ]

    def check(self, approval: Approval, by: str, signature: bytes) -> None:
        """Raises InvalidProject for a signature that is not this person's over this approval."""
        owners = self.person(by)
        try:
            holder = owners.holder(verified_person(signature, APPROVALS, approval.data))
        except ValueError as error:
            raise InvalidProject(f"The signature {error}.") from error
        if holder != by:
            raise InvalidProject(
                f"The signature is {holder}'s, not {by}'s."
                if holder
                else f"The signature is by no key of {by}'s.",
                hint=f"Sign with a key that {FILE} lists for {by}.",
            )

    def keep(self, approval: Approval, by: str, signature: bytes) -> None:
        """Writes an approval and a person's signature, which `check` has found right."""
        folder = self.project.files.root / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{approval.id}.{by}.sig").write_bytes(signature)
        (folder / f"{approval.id}.json").write_bytes(approval.data)

    def person(self, name: str) -> Owners:
        """Who may approve, this person among them. Raises InvalidProject where they are nobody of `ops/owners.yaml`."""
        owners = self.owners()
        if owners is None:
            raise InvalidProject(
                f"There is no {FILE}: it says who may ask for approvals and who may grant them.",
                hint="docs/protection.md shows one.",
            )
        if name not in owners.people:
            those = f"; there are {', '.join(sorted(owners.people))}."
            raise InvalidProject(
                f'{FILE} names nobody called "{name}"{nearest(name, owners.people) or those}'
            )
        return owners

    # --- evidence

    def evidence(self, name: str, manifest: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        """What an auditor needs beside a manifest of the export: what was ordered and promised, who approved it, and
        whose signatures count. Raises IntegrityError where the project's files are not those of the manifest."""
        export, root = self.project.exports[name], self.project.files.root
        contract = self.project.contracts[export.contract]
        signing = manifest["policy"], manifest["decisions"], manifest["approvals"]
        found = [
            ("contract.yaml", (root / contract.path).read_bytes()),
            ("definition.json", definition_bytes(export, contract.sha256, self._sql(export))),
            (
                "decisions.json",
                canonical(dict(zip(("policy", "decisions", "approvals"), signing, strict=True))),
            ),
            ("keys.json", canonical(self._key_ids(manifest))),
            ("signers", (root / SIGNERS).read_bytes()),
            ("validation.json", canonical({key: manifest[key] for key in ("rows", "validation")})),
        ]
        named = {
            "contract.yaml": manifest["contract"]["sha256"],
            "definition.json": manifest["definition_sha256"],
        }
        for file, data in found:
            if file in named and sha256(data) != named[file]:
                raise _changed(name, "its definition, query or contract")
        return [*found, *self._approved(name, manifest)]

    def _key_ids(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        masks = {action["key_id"] for action in manifest["policy"] if "key_id" in action}
        return {"masks": sorted(masks), "encryption": dict(manifest["encryption"])}

    def _approved(self, name: str, manifest: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """The approvals that a manifest names, the signatures under them, and the keys of the people who signed."""
        used = {approval["sha256"] for approval in manifest["approvals"]}
        if not used:
            return
        owners, people = self.owners(), set[str]()
        approvals = [approval for approval in self.approvals() if approval.sha256 in used]
        if owners is None or len(approvals) < len(used):
            raise _changed(name, f"its approvals in {FOLDER}")
        for approval in approvals:
            yield f"approvals/{approval.id}.json", approval.data
            for path in sorted((self.project.files.root / FOLDER).glob(f"{approval.id}.*.sig")):
                yield f"approvals/{path.name}", path.read_bytes()
            people |= approval.signers(owners)
        lines = [
            f'{person} namespaces="{APPROVALS}" {" ".join(key.split()[:2])}\n'
            for person in sorted(people)
            for key in owners.people[person]
        ]
        yield "approvers", "".join(lines).encode()

    # --- ops/

    def owners(self) -> Owners | None:
        """Who may approve; None where there is no such file. Raises InvalidProject for a wrong one."""
        root = self.project.files.root
        if not (root / FILE).exists():
            return None
        return validate(Owners, load(root / FILE, root))

    def approvals(self) -> list[Approval]:
        """Every approval in `ops/approvals/`, asked for or given. Raises InvalidProject for what is none."""
        problems: list[Problem] = []
        found: list[Approval] = []
        for path in sorted((self.project.files.root / FOLDER).glob("*.json")):
            approval: Approval | None = gathered(problems, lambda p=path: self._approval(p))  # type: ignore[misc]
            found += [approval] if approval is not None else []
        if problems:
            raise InvalidProject(problems=problems)
        return found

    def _approval(self, path: Path) -> Approval:
        file = f"{FOLDER}/{path.name}"
        try:
            signatures = [each.read_bytes() for each in sorted(path.parent.glob(f"{path.stem}.*.sig"))]
            approval = Approval.read(path.read_bytes(), signatures)
        except OSError as error:
            reason = f"it, or a signature beside it, is no file that can be read: {error.strerror}"
            raise InvalidProject(problems=[Problem(file, 0, reason)]) from error
        except ValueError as error:
            raise InvalidProject(problems=[Problem(file, 0, str(error))]) from error
        if path.stem != approval.id:
            reason = f"is not what its name says, {approval.id}: it was changed since; restore or delete it"
            raise InvalidProject(problems=[Problem(file, 0, reason)])
        return approval


def _changed(name: str, what: str) -> IntegrityError:
    return IntegrityError(f"{name}: {what} changed while it was read.", hint="Run it again.")


def needed(name: str, subject: Subject, outcome: Approval | str) -> dict[str, Any]:
    """One line of `lading approvals`."""
    have = outcome if isinstance(outcome, Approval) else None
    return {
        "export": name,
        "kind": subject.kind,
        "name": subject.name,
        "approval": have.id if have else None,
        "expires": have.document["expires"] if have else None,
        "missing": None if have else outcome,
    }


def _broken(judgement: Judgement, export: Export) -> Iterator[tuple[str, str]]:
    """Rules that no approval mends, each with its columns, and what would."""
    if judgement.refused:
        columns = ", ".join(map(told, judgement.refused))
        yield (
            f"restricted: {columns} may leave only under a key of the recipient's own",
            _unrestricting(judgement.refused, export),
        )
    if judgement.secret:
        yield (
            f"secrets: {', '.join(judgement.secret)} would leave, called like a password, a key or a token",
            "exclude or mask them (hmac_sha256, null, a constant); what is none is named under not_secret",
        )


def _unrestricting(refused: Sequence[Exposure], export: Export) -> str:
    remedy = (
        "exclude or mask them (hmac_sha256, null, a constant), or encrypt the files for their recipient "
        "(encryption: {key: recipient})"
    )
    # To one that is classified this would be advice to classify it lower.
    if silent := [each.column for each in refused if not each.classification]:
        which = "them" if len(silent) == len(refused) else ", ".join(silent)
        remedy = f"classify {which} in the contract, {remedy}"
    if export.encryption is not None:
        remedy += (
            "; encryption: {key: tenant} counts only where tenants are not discovered and every one is listed with "
            "its own kms_key"
        )
    return remedy
