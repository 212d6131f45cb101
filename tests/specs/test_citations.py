"""What code, tests and pages cite: pages, headings, decisions and files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"
PAGES = [ROOT / "README.md", *sorted(SPECS.glob("**/*.md"))]
FILES = sorted(
    path
    for folder in ("txfiles", "tests", "tools", "specs")
    for path in (ROOT / folder).glob("**/*")
    if path.is_file() and (path.suffix in (".py", ".md", ".pml") or path.parent.name == "tools")
)

CITED = re.compile(r"\bspecs/(\d[\w-]*\.md|decisions/[\w.-]+\.md)((?:(?:,| and)\s+\"[^\"]+\")*)")
"""A page, and headings in quotes: specs/5-commit.md, "Commit" and "Conflicts"."""


def headings(page: Path) -> list[str]:
    """The headings of a page, as they are written."""
    return re.findall(r"^#+ (?:\d+\. )?(.+?)\s*$", page.read_text(encoding="utf-8"), re.MULTILINE)


def anchor(heading: str) -> str:
    """What a link to a heading ends in."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def cited(text: str) -> list[tuple[str, list[str]]]:
    """Each page that a text cites, with the headings that it quotes."""
    return [(page, re.findall(r'"([^"]+)"', heads)) for page, heads in CITED.findall(text)]


def test_a_citation_is_recognised() -> None:
    """A page alone, with one heading and with several, in one line or two."""
    assert cited('Source: specs/5-commit.md; specs/4-semantics.md, "Keys" and\n"Creation", "Upsert"; RFC 4180.') == [
        ("5-commit.md", []),
        ("4-semantics.md", ["Keys", "Creation", "Upsert"]),
    ]


def test_cited_headings_exist() -> None:
    """Each page of the specification that a file cites is there, with the headings that it quotes."""
    wrong = [
        (str(path.relative_to(ROOT)), page, head)
        for path in FILES
        for page, heads in cited(path.read_text(encoding="utf-8"))
        for head in heads or [None]
        if not (SPECS / page).exists() or (head is not None and head not in headings(SPECS / page))
    ]
    assert wrong == []


def test_sources_quote_headings_in_the_one_form() -> None:
    """Whatever a `Source:` line has in quotes is a heading of a page that it names, or stands beside a paper."""
    for path in (ROOT / "txfiles").glob("**/*.py"):
        for source in re.findall(r"Source: (.*?)(?:\n\n|\"\"\")", path.read_text(encoding="utf-8"), re.DOTALL):
            quoted = re.findall(r'"([^"]+)"', source)
            assert quoted == [head for _, heads in cited(source) for head in heads], (path.name, source)


def test_sections_of_the_model_exist() -> None:
    """What the model for Spin has in brackets is a section of the page on commits."""
    sections = set(re.findall(r"\[([A-Z][a-z ]+)\]", (SPECS / "model/commit.pml").read_text(encoding="utf-8")))
    assert sections - {"Words"} <= set(headings(SPECS / "5-commit.md"))
    assert "Replay" in sections


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_point_to_what_is_there(page: Path) -> None:
    """The anchors of links, decisions by number, and files named in a page exist."""
    text = page.read_text(encoding="utf-8")
    for target, name in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        found = headings(page.parent / target if target else page)
        assert name in map(anchor, found), (target, name)
    for number in re.findall(r"\bdecision (\d+)", text):
        assert list((SPECS / "decisions").glob(f"{int(number):04}-*.md")), number
    for name in re.findall(r"`((?:txfiles|tests|tools|specs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name


def test_pages_are_numbered_and_listed() -> None:
    """The contents list each page in order, and no two pages or decisions share a number."""
    pages = sorted((path.name for path in SPECS.glob("[0-9]*.md")), key=lambda name: int(name.split("-")[0]))
    assert len({name.split("-")[0] for name in pages}) == len(pages)
    contents = (SPECS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[[^\]]+\]\((\d[^)]+)\)", contents, re.MULTILINE) == pages
    numbers = [path.name[:4] for path in (SPECS / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))


def test_promises_are_checked() -> None:
    """Each invariant of the page on promises is checked by some tests, and tests claim no other."""
    page = (SPECS / "1-promises.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| ([SL]\d+b?) \|", page, re.MULTILINE)
    assert len(stated) == len(set(stated))
    claimed = {
        name
        for path in (ROOT / "tests").glob("**/test_*.py")
        for names in re.findall(r"mark\.guarantees\(\"([^\"]+)\"\)", path.read_text(encoding="utf-8"))
        for name in names.split()
    }
    assert claimed == set(stated)
