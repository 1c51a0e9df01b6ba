"""The examples of the page about the client: they run one after the other, and print what the page says."""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.build import build
from tests.support.service import CHECKOUT, Service

PAGE = CHECKOUT / "docs" / "how-to" / "use-the-client.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?",
    PAGE.read_text(encoding="utf-8"),
    flags=re.DOTALL | re.MULTILINE,
)


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "instance") as service:
        build(service.workflow_store, service.model_store)
        yield service


def test_examples_print_what_the_page_says(service: Service) -> None:
    """On free ports, in the place of those that a service has unless it is told others."""
    assert len(EXAMPLES) >= 5
    here = f'Client("{service.management}", inference_url="{service.inference}")'
    names: dict[str, Any] = {}
    for source, expected in EXAMPLES:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(source.replace("Client()", here), PAGE, "exec"), names)  # noqa: S102 - it is our own page
        assert printed.getvalue().rstrip("\n") == expected.rstrip("\n"), source
