"""The commands print what their transcripts say; docs are what the program generates."""

import re

import pytest

from tests.docs import stale
from tests.transcripts import CASES, HERE, transcript


@pytest.mark.parametrize("name", CASES)
def test_transcript(name: str) -> None:
    assert transcript(CASES[name]) == (HERE / f"{name}.txt").read_text()


def test_no_transcript_is_left_over() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == set(CASES)


def test_generated_docs_are_up_to_date() -> None:
    assert stale() == [], "run `make docs` and commit"


def test_no_link_of_the_docs_is_broken() -> None:
    root = HERE.parent.parent
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for place in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not place.startswith(("http", "mailto")):
                assert (page.parent / place).exists(), f"{page.relative_to(root)}: {place}"
