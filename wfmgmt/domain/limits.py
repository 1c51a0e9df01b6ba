"""How large and how complicated an archive or a spec may be."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one archive may make the server do; the settings can change those that have one.

    Attributes:
        archive_entries: Members of one archive.
        archive_unpacked_bytes: Sum of the unpacked sizes of all members.
        archive_ratio: Unpacked bytes per packed byte, checked once 10 MiB are unpacked.
        manifest_bytes: Size of MANIFEST.json.
        spec_bytes: Size of the workflow spec.
        spec_depth: Nesting of the spec.
        spec_values: Values in the spec once aliases are expanded.
        dag_nodes: Nodes of one graph; each can become a process.
        handler_bytes: Size of the workflow's handler file.
    """

    archive_entries: int = 10_000
    archive_unpacked_bytes: int = 4096 * MIB
    archive_ratio: int = 200
    manifest_bytes: int = 64 * 1024
    spec_bytes: int = 256 * 1024
    spec_depth: int = 20
    spec_values: int = 50_000
    dag_nodes: int = 1000
    handler_bytes: int = 512 * 1024


#: Connections that may wait on the inference address until they are accepted.
LISTEN_BACKLOG = 1024
