"""The page about testing one's own model server: what it has its readers write is collected by pytest."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.service import CHECKOUT

PAGE = CHECKOUT / "docs" / "how-to" / "test-a-model-server.md"


def test_suite_of_the_page_is_collected(tmp_path: Path) -> None:
    """It is complete as it stands: the tests of the suite are found in the class, with their fixtures."""
    (source,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "test_my_server.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--collect-only",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(tmp_path)], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("TestMyServer::") > 20
