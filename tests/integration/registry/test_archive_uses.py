"""Which versions have an archive, as the registry says."""

from pathlib import Path

from tests.support.records import make_node, make_registry, make_workflow, register
from wfmgmt.domain.archives import ArchiveKind, ArchiveUse


def test_users_of_gives_versions_and_nodes_also_unfinished_ones(tmp_path: Path) -> None:
    """A registration that is under way has its archives, too."""
    registry = make_registry(tmp_path)
    register(registry, "a")
    nodes = (make_node("m1", model_file="m1.mar"), make_node("m2", model_file="m2.mar"))
    with registry.write() as writer:
        writer.claim_name(make_workflow("b", nodes=nodes, edges=(("m1", "m2"),)))
    with registry.read() as reader:
        assert reader.users_of(ArchiveKind.WORKFLOW, "b.war") == [ArchiveUse("b", "1.0", None)]
        assert reader.users_of(ArchiveKind.MODEL, "m1.mar") == [
            ArchiveUse("a", "1.0", "m1"),
            ArchiveUse("b", "1.0", "m1"),
        ]
        assert reader.users_of(ArchiveKind.MODEL, "m2.mar") == [ArchiveUse("b", "1.0", "m2")]
        assert reader.users_of(ArchiveKind.MODEL, "a.war") == []
    registry.close()
