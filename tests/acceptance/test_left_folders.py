"""Folders that handlers of an earlier runtime left behind."""

import os
from pathlib import Path

from tests.support.deployments import deployed
from tests.support.factories import make_mar, make_war
from tests.support.service import wait_until

#: Makes its folder, and one in it, as hard to remove as it can, with a link to somewhere else in it.
HOSTILE = """
import os

def handle(data, context):
    if data is None:
        os.makedirs("closed/inner")
        os.symlink(OUTSIDE, "closed/link")
        os.chmod("closed/inner", 0)
        os.chmod("closed", 0o500)
        os.chmod("..", 0o500)
        os.chmod(".", 0)
    return data
"""


def test_folders_that_may_not_be_entered_do_not_keep_the_service_from_starting(tmp_path: Path) -> None:
    """The workflow is up again after a kill, what was left is removed in the background, and links are not followed."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("here")
    with deployed(tmp_path / "d") as service:
        make_mar(service.model_store, source=HOSTILE.replace("OUTSIDE", repr(str(outside))))
        make_war(service.workflow_store)
        assert service.register("seq.war").status_code == 200
        service.kill()
        for folder in (service.archives, service.run_folder / "working"):
            folder.chmod(0)
        service.start()
        wait_until(lambda: service.ready_workers("seq") == [1, 1, 1], what="the workflow")
        wait_until(lambda: not list(service.run_folder.glob("*.old-*")), what="the end of what was left")
        assert len(os.listdir(service.run_folder / "working")) == 3  # noqa: PTH208 - only their number is of interest
    assert (outside / "precious").read_text() == "here"


def test_folders_that_a_handler_replaced_by_files_are_made_again(tmp_path: Path) -> None:
    """The next worker finds them as they should be."""
    with deployed(tmp_path / "d") as service:
        make_mar(service.model_store)
        make_war(service.workflow_store)
        for folder in (service.run_folder / "working", service.archives):
            folder.rename(folder.with_name(f"{folder.name}.gone"))
            folder.write_text("no folder")
        assert service.register("seq.war").status_code == 200
        assert service.predicts()


def test_end_that_cannot_be_recorded_is_one_warning(tmp_path: Path) -> None:
    """It costs the next start a little time, and nothing else."""
    with deployed(tmp_path / "d") as service:
        (service.run_folder / "clean-end").mkdir()
        assert service.stop() == 0
        said = service.text_of_log()
    assert said.count("the next start will look through all of the database: ") == 1
    assert "Traceback" not in said
