"""Graphs over the API."""

import pytest

from tests.support.management_api import ManagementApi


@pytest.mark.parametrize(
    ("query", "kind", "part"),
    [
        ("", "image/svg+xml; charset=utf-8", "<title>seq 1.0</title>"),
        ("?format=svg", "image/svg+xml; charset=utf-8", "<title>seq 1.0</title>"),
        ("?format=dot", "text/vnd.graphviz; charset=utf-8", '"pre_processing" -> "m1";'),
        ("?format=mermaid", "text/plain; charset=utf-8", "n0 --> n1"),
        ("?format=text", "text/plain; charset=utf-8", "1  pre_processing   function  → m1\n"),
    ],
)
def test_graph_is_drawn_in_each_format(two: ManagementApi, query: str, kind: str, part: str) -> None:
    """Safe to be opened in a browser."""
    answer = two.answer(f"GET /workflows/seq/graph{query}")
    assert answer.headers["Content-Type"] == kind
    assert part in answer.get_data(as_text=True)
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_client_that_has_the_drawing_gets_no_other(two: ManagementApi) -> None:
    """The tag is that of the drawing: another version has another title."""
    tag = two.answer("GET /workflows/seq/graph").headers["ETag"]
    assert two.answer("GET /workflows/seq/1.0/graph", 304, headers={"If-None-Match": tag}).headers["ETag"] == tag
    answer = two.answer("GET /workflows/seq/2.0/graph", headers={"If-None-Match": tag})
    assert "<title>seq 2.0</title>" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("none/graph", 404, "Workflow not found: none"),
        ("seq/9/graph", 404, "Workflow version: 9 does not exist for workflow: seq"),
        ("seq/graph?format=png", 400, "expected one of svg, dot, mermaid, text, got 'png'."),
        ("seq/graph?formt=svg", 400, "did you mean format?"),
    ],
)
def test_what_is_not_there_is_named(two: ManagementApi, path: str, status: int, message: str) -> None:
    """So is what cannot be understood."""
    assert message in two.send(f"GET /workflows/{path}", status)["message"]
