"""What files declare about workflows: which versions there are, with which traffic and settings of nodes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wfmgmt.domain.workflow import SETTINGS

#: The form of declarations that this version reads and writes.
FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredVersion:
    """A version that is to be registered.

    Attributes:
        url: Its archive.
        sha256: The digest that the archive has to have; empty for any.
    """

    url: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredWorkflow:
    """What one workflow is to be.

    Attributes:
        name: Its name.
        versions: Its versions, in the order in which they are registered.
        traffic: Share of each version in percent; empty when that is not declared.
        nodes: Settings that nodes have instead of those of the spec, by the fields of `NodeSettings`.
    """

    name: str
    versions: Mapping[str, DeclaredVersion]
    traffic: Mapping[str, int] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        """Return it as plain JSON, as it is kept."""
        return {
            "versions": {version: {"url": each.url, "sha256": each.sha256} for version, each in self.versions.items()},
            "traffic": dict(self.traffic),
            "nodes": {node: dict(settings) for node, settings in self.nodes.items()},
        }

    @classmethod
    def of_json(cls, name: str, kept: Mapping[str, Any]) -> Self:
        """Return what was kept."""
        return cls(
            name=name,
            versions={version: DeclaredVersion(**each) for version, each in kept["versions"].items()},
            traffic=kept["traffic"],
            nodes=kept["nodes"],
        )


def declaration_json(workflows: Mapping[str, DeclaredWorkflow]) -> dict[str, Any]:
    """Return workflows as a file declares them."""
    keys = {setting.field: setting.key for setting in SETTINGS}
    declared: dict[str, Any] = {}
    for name, each in workflows.items():
        nodes = {node: {keys[field]: value for field, value in values.items()} for node, values in each.nodes.items()}
        versions = {
            version: {"url": found.url, **({"sha256": found.sha256} if found.sha256 else {})}
            for version, found in each.versions.items()
        }
        more = {"traffic": dict(each.traffic), "nodes": nodes}
        declared[name] = {"versions": versions, **{key: value for key, value in more.items() if value}}
    return {"wfmgmt": FORM, "workflows": declared}
