"""Building the examples on a machine that others use, too."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.service import CHECKOUT


def test_examples_are_built_beside_temporary_files_of_others(tmp_path: Path) -> None:
    """Somebody else's folders of the same names stay as they are, and nothing is left behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    for name in ("sequential", "length"):
        (temporary / name).write_text("somebody's")
    environment = {**os.environ, "TMPDIR": str(temporary), "WFMGMT_INSTANCE": str(tmp_path / "instance")}
    built = subprocess.run(
        [sys.executable, "examples/build.py"],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert {path.name: path.read_text() for path in temporary.iterdir()} == dict.fromkeys(
        ("sequential", "length"), "somebody's"
    )
    assert (tmp_path / "instance" / "workflow_store" / "sequential.war").is_file()


def test_example_with_a_real_model_pins_what_the_service_pins() -> None:
    """Both are installed together, so they have to agree on the version of each library."""
    service, example = (_pins(CHECKOUT / name) for name in ("requirements.txt", "examples/real/requirements.txt"))
    common = service.keys() & example.keys()
    assert common
    assert {name: example[name] for name in common} == {name: service[name] for name in common}


def _pins(path: Path) -> dict[str, str]:
    """Return the versions that a file of requirements pins."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)
