"""Refusing archives that list libraries which are not installed, or cannot be."""

from collections.abc import Mapping

from wfmgmt.archives.manifest import WorkflowArchive
from wfmgmt.domain.requirements import ModelRequirements, libraries_problem
from wfmgmt.domain.spec import WorkflowSpec
from wfmgmt.domain.workflow import NodeKind
from wfmgmt.services.archives import ArchiveFile


class LibrariesCheck:
    """Judges the libraries that archives list by those of this process, whose interpreter workers have, too.

    Args:
        policy: What is done with them.
        has_models: Whether models run here, and not on other servers.
    """

    def __init__(self, policy: ModelRequirements, *, has_models: bool) -> None:
        self._policy = policy
        self._has_models = has_models

    def failures(
        self, spec: WorkflowSpec, war: ArchiveFile, contents: WorkflowArchive, models: Mapping[str, ArchiveFile]
    ) -> dict[str, str]:
        """Return which nodes cannot have what their archive lists, and why.

        Args:
            spec: The nodes.
            war: The workflow's archive.
            contents: What it holds.
            models: Archive of each model node.
        """
        wanted = {node.name: (war, contents.requirements) for node in spec.nodes if node.kind is NodeKind.FUNCTION}
        if self._has_models:
            wanted |= {node: (model, model.requirements) for node, model in models.items()}
        failures = {}
        for node, (archive, file) in wanted.items():
            if file is not None and (problem := libraries_problem(file, self._policy)):
                failures[node] = f"{archive.shown_url}: {problem}"
        return failures
