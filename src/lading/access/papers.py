"""The documents of one store of a project, by the provider that its URL names."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from lading.access import azure, google, s3
from lading.access.rights import Papers, Wishes, rights
from lading.assemble import journal_folder
from lading.errors import InvalidProject
from lading.project_files import ProjectFiles
from lading.stores.object_options import ObjectOptions

_MAKERS = {"s3": s3.papers, "gs": google.papers, "az": azure.papers}


def papers(
    project: ProjectFiles, options_of: Callable[[str], BaseModel], store: str, wishes: Wishes
) -> Papers:
    """``options_of``: what lading.yaml says of a store, by name.

    Raises InvalidProject for a store that is no bucket, of which nothing is asked, or for which the wishes cannot be.
    """
    options = options_of(store)
    if not isinstance(options, ObjectOptions):
        raise InvalidProject(
            f"{store} is no bucket: a folder has no policies of a provider, its owner and mode decide.",
            hint="Name a store whose url begins with s3://, gs:// or az://.",
        )
    asked = rights(project, store, write_only=wishes.write_only)
    return _MAKERS[options.provider](store, options, asked, wishes, _journal(project, options_of, options))


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
