"""The studies: every page is what its tables say, no number is typed, and rules are built from vhs alone."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from vhs.formats import tables
from vhs.progress import unheard
from vhs.reports import filled, named_tables

ROOT = Path(__file__).resolve().parent.parent
STUDIES, DOCS = ROOT / "studies", ROOT / "docs" / "studies"
NAMES = ("heads", "diversity", "distill", "chirps", "pruning")
TYPED = ("95 %", "q < 0.05", "p < 0.05")
"""Conventions, not results."""


def defined(name: str) -> dict[str, str]:
    """What the rule of a page defines for it."""
    words = shlex.split(page_of(planned(f"study-{name}"), name))
    return filled.definitions([value for key, value in pairwise(words) if key == "--define"])


def page_of(lines: list[str], name: str) -> str:
    """The command that writes a page."""
    return next(line for line in lines if f"--template studies/{name}.md.jinja" in line)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_its_tables_say(name: str) -> None:
    sources = named_tables.named([str(path) for path in sorted((DOCS / name).glob("*.csv"))])
    made = filled.render(
        STUDIES / f"{name}.md.jinja", named_tables.NamedTables(sources, tables.read, unheard), defined(name)
    )
    assert made.decode() == (DOCS / f"{name}.md").read_text()


def test_the_index_is_what_the_tables_of_all_pages_say() -> None:
    every = [f"{path.parent.name}_{path.stem}={path}" for path in sorted(DOCS.glob("*/*.csv"))]
    opened = named_tables.NamedTables(named_tables.named(every), tables.read, unheard)
    made = filled.render(STUDIES / "README.md.jinja", opened, {"have": " ".join(NAMES), "ours": "yes"})
    assert made.decode() == (DOCS / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.jinja")), ids=lambda path: path.name)
def test_templates_can_be_read(path: Path) -> None:
    filled.furnished(named_tables.NamedTables({}, tables.read, unheard), {}).compiled(path.read_text())


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


def planned(*words: str, always: bool = True) -> list[str]:
    """The commands of a target, none run; always: also those that make everything anew."""
    forced = ["-B"] if always else []
    done = subprocess.run(
        ["make", "-n", *forced, "--no-print-directory", "PYTHON=python", "NPM=npm", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [(), ("DATA=pictures", "WATERBIRDS=birds", "S=elsewhere", "DEVICE=cuda")])
def test_studies_are_built_from_vhs_alone(name: str, given: tuple[str, ...]) -> None:
    lines = planned(f"study-{name}", *given)
    others = [line for line in lines if not line.startswith("python -m vhs ")]
    assert all(line.startswith("npm install") for line in others), others
    assert len(lines) > 10
    last = page_of(lines, name).split()
    assert last[3] == "report" and last[-1] == (f"elsewhere/pages/{name}.md" if given else f"docs/studies/{name}.md")


@pytest.mark.parametrize("name", NAMES)
def test_a_clone_has_pages_and_makes_them_from_raw_data_all_the_same(name: str, tmp_path: Path) -> None:
    """Tables of pages are newer than anything that is not there yet; and nothing that was made is deleted again."""
    words = (f"study-{name}", f"S={tmp_path}", "PAGES=docs/studies")
    assert planned(*words, always=False) == planned(*words)


def test_what_is_given_has_a_folder_of_its_own() -> None:
    """Products of other values are never taken for those that were asked for, and pages of the repository stay."""

    def folder(*words: str) -> str:
        lines = planned("study-heads", *words)
        found = re.search(r"vhs shard \S+ (\S+)/data", lines[0])
        assert found
        assert all(line.split()[-1].startswith(f"{found[1]}/") for line in lines if " -o " in line) == bool(words)
        return found[1]

    given = ("DATA=pictures", "HEADS_SIZES=--patch 7 --dim 24")
    assert folder() == "study"
    assert folder(*given) == folder(*reversed(given), "DEVICE=cuda") != folder("DATA=pictures") != "study"


def test_digits_of_another_kind_are_not_the_page_s() -> None:
    lines = planned("study-diversity", "NPM=")
    assert "--top 'digits'" in lines[0] and "--define ours= " in page_of(lines, "diversity")
    assert page_of(lines, "diversity").endswith(" study/pages/diversity.md")


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


SMALL = {
    "heads": ("HEADS_SIZES=--patch 14 --dim 24 --depth 2 --epochs 1 --batch 24", "HEADS_SNAPSHOTS=1,2", "HEADS_IMAGES=40"),
    "diversity": ("DIVERSITY_RATES=1e-3", "DIVERSITY_LAMBDAS=", "DIVERSITY_SIZES=--patch 28 --depth 2 --epochs 1"),
    "distill": ("DISTILL_TEACHER=--depth 4 --dim 24 --epochs 1", "DISTILL_ALPHAS=0.5", "DISTILL_BLOCK=block:0:0,2:3", "DISTILL_HEAD=head:2.0:3.0"),
    "chirps": ("CHIRPS_COUNT=90", "CHIRPS_SIZES=--patch 32 --depth 12 --dim 24 --heads 3 --batch 8 --epochs 1"),
    "pruning": ("PRUNING_EVERY=2", "PRUNING_HALF=4", "PRUNING_IMAGES=40"),
}  # fmt: skip
"""The studies, tiny."""


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_study_runs_on_other_data(name: str, tmp_path: Path, imagenet: Path, birds: Path) -> None:
    """Two seeds of everything on the user's own folders: the page is written, elsewhere."""
    few = [f"{study.upper()}_SEEDS=0 1" for study in NAMES]
    words = [*few, *(SMALL["heads"] if name == "pruning" else ()), *SMALL[name]]
    done = subprocess.run(
        ["make", "--no-print-directory", f"study-{name}", f"PYTHON={sys.executable}", f"S={tmp_path}", *words,
         f"DATA={imagenet}/imagenet", f"WATERBIRDS={birds}", "DEVICE=cpu"], cwd=ROOT, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "pages" / f"{name}.md").read_text()
    assert "## Results" in page and "nan" not in page


def test_the_small_proposal_is_the_same_rules() -> None:
    def steps(*words: str) -> list[tuple[str, str]]:
        told = [line.split() for line in planned(*words) if line.startswith("python -m vhs ")]
        return [(line[3], line[-1].replace("proposal-small", "proposal")) for line in told]

    whole = steps("proposal", "IMAGENET=~/imagenet")
    assert len(whole) > 30 and steps("proposal-small") == whole


@pytest.mark.slow
def test_the_small_proposal(tmp_path: Path) -> None:
    """Smaller still; every rule is run."""
    words = ["SMALL_TRAIN=--depth 2 --patch 14 --dim 24 --epochs 1 --batch 128", "SMALL_MEASURE=--max-samples 60"]
    done = subprocess.run(
        ["make", "--no-print-directory", "proposal-small", f"PYTHON={sys.executable}", f"O={tmp_path}/out", *words],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"pages: {tmp_path}/out/report-3h.html {tmp_path}/out/report-6h.html" in done.stdout


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Waterbirds in its public layout, small: in training the background goes with the bird, elsewhere it does not."""
    import numpy as np
    from PIL import Image

    root = tmp_path / "waterbird_complete95_forest2water2"
    rng = np.random.default_rng(0)
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    for number in range(140):
        split = 0 if number < 60 else 1 if number < 100 else 2
        bird = number % 2
        place = bird if split == 0 and number % 20 != 19 else number // 2 % 2
        name = f"{number % 7 + 1:03d}.Bird_{number % 7}/Bird_{number:04d}.jpg"
        pixels = rng.integers(0, 100, (40 + number % 9, 56, 3), dtype=np.uint8)
        pixels[:20] += np.uint8(80 * place)
        pixels[25:35, 20:40] += np.uint8(150 * bird)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
        rows.append(f"{number + 1},{name},{bird},{split},{place},/o/ocean/{number:08d}.jpg")
    (root / "metadata.csv").write_text("\n".join(rows) + "\n")
    return root


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """ImageNet's family in its public layouts, small: three classes of 28 px, fifteen corruptions, two other sets."""
    import numpy as np
    from PIL import Image

    from vhs.shifts.names import FAMILIES, SEVERITIES

    rng = np.random.default_rng(0)
    classes = ("n01443537", "n01484850", "n01514859")

    def put(folder: Path, names: list[str], of: tuple[str, ...] = classes) -> None:
        for place, wnid in enumerate(of):
            (folder / wnid).mkdir(parents=True)
            for name in names:
                pixels = rng.integers(0, 120, (28, 28, 3), dtype=np.uint8)
                pixels[place * 8 : place * 8 + 8] += 100
                Image.fromarray(pixels).save(folder / wnid / f"{wnid}_{name}.png")

    put(tmp_path / "imagenet" / "train", [f"t{number}" for number in range(40)])
    kept = [f"v{number}" for number in range(10)]
    put(tmp_path / "imagenet" / "val", kept)
    for corruption in FAMILIES["imagenet-c"]:
        for severity in SEVERITIES:
            put(tmp_path / "c" / corruption / str(severity), kept)
    put(tmp_path / "r", ["a", "b", "c"], classes[:2])
    put(tmp_path / "sketch", ["x", "y", "z"])
    return tmp_path


@pytest.mark.slow
def test_the_proposal_runs_on_the_public_layouts_and_goes_on_when_cut(imagenet: Path) -> None:
    """`make proposal` with every set: pages, figures and the models table; a second make does nothing."""
    out = imagenet / "out"
    words = [
        "make", "--no-print-directory", "proposal", f"PYTHON={sys.executable}", f"O={out}", f"IMAGENET={imagenet}/imagenet",
        f"IMAGENET_C={imagenet}/c", f"IMAGENET_R={imagenet}/r", f"IMAGENET_SKETCH={imagenet}/sketch", "DEVICE=cpu",
        f"PROPOSAL_TRAIN=--depth 2 --patch 7 --dim 24 --epochs 2 --batch 24 {plain()}", "PROPOSAL_MCE=none",
    ]  # fmt: skip
    cut = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not (out / "heads-3h.csv.partial").exists():
        assert cut.poll() is None
        time.sleep(0.2)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for model in ("3h", "6h"):
        swept = tables.read(str(out / f"heads-{model}.csv")).rows
        assert set(swept["shift"]) == {"clean", "imagenet-c", "r", "sketch"}
        assert set(swept["origin"]) == {"stored"}
        assert (out / f"report-{model}.html").stat().st_size > 100_000 and (out / f"critical-{model}.png").exists()
    assert len(tables.read(str(out / "models.csv")).rows)
    again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert " train " not in again.stdout and " ablate " not in again.stdout


def plain() -> str:
    """DeiT's augmentation off, as the small proposal has it."""
    found = re.search(r"^HEADS_PLAIN := \$\(foreach key,(.*?),--set", (STUDIES / "heads.mk").read_text(), re.M)
    assert found
    return " ".join(f"--set {key}" for key in found[1].split())
