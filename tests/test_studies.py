"""The studies: every page is what its tables say, no number is typed, and rules are built from vhs alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vhs.formats import tables
from vhs.progress import unheard
from vhs.reports import filled, named_tables

ROOT = Path(__file__).resolve().parent.parent
STUDIES, DOCS = ROOT / "studies", ROOT / "docs" / "studies"
NAMES = ("heads", "diversity", "distill", "chirps", "pruning")
TYPED = ("95 %", "q < .05", "p < .05", "80 %")
"""Conventions, not results."""


def defined(name: str) -> dict[str, str]:
    """What the rule of a page defines for it."""
    text = (STUDIES / f"{name}.mk").read_text()
    words = re.search(r"call page-of,([^)]*\))\)", text)
    assert words
    found = {}
    for pair in words[1].split():
        key, value = pair.split("=")
        told = re.search(rf"^{value.strip('$()')} := (.*)$", text, re.M)
        assert told, value
        found[key] = told[1]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_its_tables_say(name: str) -> None:
    sources = named_tables.named([str(path) for path in sorted((DOCS / name).glob("*.csv"))])
    made = filled.render(
        STUDIES / f"{name}.md.jinja", named_tables.NamedTables(sources, tables.read, unheard), defined(name)
    )
    assert made.decode() == (DOCS / f"{name}.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_a_result_is_typed(name: str) -> None:
    """Behind the design, which is fixed, numbers come from tables, from what the rule defines, or are the source's, which
    stand together in one place."""
    _, _, text = (STUDIES / f"{name}.md.jinja").read_text().partition("## Results")
    assert text
    text = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}|```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.S)
    for words in TYPED:
        text = text.replace(words, "")
    assert not re.findall(r"[^\n]*\d[^\n]*", text)


@pytest.mark.parametrize("name", NAMES)
def test_figures_and_tables_of_a_page_are_there(name: str) -> None:
    page = (DOCS / f"{name}.md").read_text()
    for path in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (DOCS / path).exists(), path
    for figure in (DOCS / name).glob("*.png"):
        assert f"{name}/{figure.name}" in page, "a figure that no page shows"


def planned(*words: str) -> list[str]:
    """The commands of a target, none run."""
    done = subprocess.run(
        ["make", "-n", "-B", "--no-print-directory", "PYTHON=python", *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [(), ("DATA=pictures", "S=elsewhere", "DEVICE=cuda")])
def test_studies_are_built_from_vhs_alone(name: str, given: tuple[str, ...]) -> None:
    lines = planned(f"study-{name}", *given)
    others = [line for line in lines if not line.startswith("python -m vhs ")]
    assert all(line.startswith("npm install") for line in others), others
    assert len(lines) > 10
    last = lines[-1].split()
    assert last[3] == "report" and last[-1] == (f"elsewhere/pages/{name}.md" if given else f"docs/studies/{name}.md")


def test_the_proposal_is_a_rule_a_step_and_takes_every_set() -> None:
    given = ("IMAGENET=~/imagenet", "IMAGENET_C=~/c", "IMAGENET_R=~/r", "IMAGENET_SKETCH=~/s")
    lines = planned("proposal", *given)
    commands = [line.split()[3] for line in lines if line.startswith("python -m vhs ")]
    for command in ("shard", "train", "ablate", "evalshift", "specialize", "compare", "plot", "prune", "report"):
        assert command in commands
    swept = next(line for line in lines if " ablate " in line)
    for name in ("imagenet-c", "imagenet-r", "imagenet-sketch"):
        assert f"--shift proposal/{name}" in swept
    assert not [line for line in lines if not line.startswith(("python -m vhs ", "echo "))]
    alone = next(line for line in planned("proposal", "IMAGENET=~/imagenet") if " ablate " in line)
    assert "--shift imagenet-c" in alone and "sketch" not in alone
