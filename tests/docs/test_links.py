"""The links between the pages of the documentation."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")})
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", flags=re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", flags=re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_between_pages_resolve(page: Path) -> None:
    """A link names a file of the project that exists, and a heading in it."""
    dangling = []
    for target, anchor in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dangling.append(f"{target}#{anchor}")
    assert dangling == []


def test_index_names_every_page() -> None:
    """The index leads to each page, and to the decisions by their own index."""
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if page.is_relative_to(ROOT / "docs")]
    wanted = [str(page) for page in pages if page.parts[0] not in {"decisions", "README.md"}]
    wanted.append("decisions/README.md")
    assert [page for page in wanted if f"]({page})" not in index] == []


def test_index_of_decisions_has_every_title() -> None:
    """Each page is listed in order, under the title that it has."""
    folder = ROOT / "docs" / "decisions"
    titles = {page.name: page.read_text(encoding="utf-8").splitlines()[0] for page in sorted(folder.glob("0*.md"))}
    index = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- (\d+) \[(.*)\]\((.*)\)$", index, flags=re.MULTILINE)
    assert [(page, f"# {number} {title}") for number, title, page in listed] == list(titles.items())
