"""The documents of one store of a project, by the provider that its URL names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel

from lading.access import azure, glue, google, s3
from lading.access.rights import Papers, Rights, Wishes, rights
from lading.assemble import journal_folder
from lading.channels.catalogues import CatalogueOptions, GlueOptions
from lading.errors import InvalidProject
from lading.project_files import ProjectFiles
from lading.stores.object_options import ObjectOptions

_MAKERS = {"s3": s3.papers, "gs": google.papers, "az": azure.papers}


def papers(
    project: ProjectFiles,
    options_of: Callable[[str], BaseModel],
    catalogue_of: Callable[[str], CatalogueOptions],
    store: str,
    wishes: Wishes,
) -> Papers:
    """``options_of``, ``catalogue_of``: what lading.yaml says of a store, and of a catalogue, by name.

    Raises InvalidProject for a catalogue, a store that is no bucket, of which nothing is asked, or for which the wishes
    cannot be.
    """
    if store in project.files.settings.catalogues:
        holds = catalogue_of(store).store
        raise InvalidProject(
            f"{store} is a catalogue: its tables lie in the store {holds}.",
            hint=f"`lading destination policy {holds}` says what tables need there, and at their catalogue.",
        )
    options = options_of(store)
    if not isinstance(options, ObjectOptions):
        raise InvalidProject(
            f"{store} is no bucket: a folder has no policies of a provider, its owner and mode decide.",
            hint="Name a store whose url begins with s3://, gs:// or az://.",
        )
    asked = rights(project, store, write_only=wishes.write_only)
    made = _MAKERS[options.provider](store, options, asked, wishes, _journal(project, options_of, options))
    return _with_glue(made, asked, catalogue_of, wishes)


def _with_glue(
    made: Papers, asked: Rights, catalogue_of: Callable[[str], CatalogueOptions], wishes: Wishes
) -> Papers:
    """Whoever keeps tables in a bucket must be allowed at their catalogue as well."""
    for catalogue in dict.fromkeys(each.catalogue for each in asked.tables):
        options = catalogue_of(catalogue)
        if isinstance(options, GlueOptions):
            tables = [each for each in asked.tables if each.catalogue == catalogue]
            paper, fill_in, notes = glue.paper(catalogue, options, tables, wishes.principal)
            made = replace(
                made,
                papers=(*made.papers, paper),
                fill_in={**made.fill_in, **fill_in},
                notes=(*made.notes, *notes),
            )
    return made


def _journal(
    project: ProjectFiles, options_of: Callable[[str], BaseModel], options: ObjectOptions
) -> dict[str, str]:
    """How the journal's names begin, where it lies in the same bucket."""
    settings = project.files.settings
    journal = options_of(settings.journal)
    if not isinstance(journal, ObjectOptions):
        return {}
    if (journal.provider, journal.place.bucket) != (options.provider, options.place.bucket):
        return {}
    root = f"{journal.place.prefix}/" if journal.place.prefix else ""
    return {root + journal_folder(settings): "the journal"}
