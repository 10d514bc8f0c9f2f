"""The house: imports go down only, each thing is touched in one place, and files of tests stand by themselves."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "vhs"
LEVELS = (
    ("cli", "__main__"), ("commands",), ("notebook",), ("notebook_figures",), ("notebook_maps", "notebook_heads", "notebook_parts", "notebook_pruning"), ("options", "completion", "accepted"), ("console", "output"), ("fitting",), ("viewing", "pruning", "reports"), ("runs",), ("records",), ("summary",), ("figures",), ("arms",), ("roles",), ("summaries",), ("sources",),
    ("formats",), ("training",), ("measures",), ("models",), ("shifts",),
    ("errors", "batch", "grid", "counts", "seeds", "progress", "world", "environment", "__init__"),
)  # fmt: skip
BELOW_THE_LINE = ("training", "measures", "models", "shifts")
FILES = sorted(ROOT.rglob("*.py"))
TESTS = Path(__file__).resolve().parent


def level(part: str) -> int:
    return next(index for index, names in enumerate(LEVELS) if part in names)


def imports(path: Path) -> list[str]:
    """Modules imported anywhere in the file, also inside functions; `from vhs import x` as vhs.x."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"vhs.{a.name}" for a in node.names] if node.module == "vhs" else [str(node.module)]
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_go_down_only(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for found in imports(path):
        if found.startswith("vhs.") and not found.startswith(("vhs.__version__",)):
            target = found.split(".")[1]
            if own == "__init__" and target == "notebook":
                continue  # the lazy public names
            assert level(target) >= level(own), f"{name(path)} imports {found}"


def module(path: Path) -> str:
    return ".".join(["vhs", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def neighbours() -> dict[str, set[str]]:
    """module -> modules of vhs that it imports anywhere, also for types only. The package's own list of lazy names is
    not counted."""
    known = {module(path) for path in FILES}
    found = {}
    for path in FILES:
        reached = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vhs"):
                reached |= {c if (c := f"{node.module}.{a.name}") in known else str(node.module) for a in node.names}
        found[module(path)] = (reached & known) - {module(path), "vhs"}
    return found


def test_no_files_import_each_other_in_a_circle() -> None:
    edges = neighbours()
    while leaves := {here for here, reached in edges.items() if not reached}:
        edges = {here: reached - leaves for here, reached in edges.items() if here not in leaves}
    assert not edges, f"a circle among {sorted(edges)}"


def test_the_middle_of_the_house_stays_small() -> None:
    def files(folder: str) -> list[Path]:
        return [path for path in FILES if path.parent.name == folder and path.name != "__init__.py"]

    assert len(files("runs")) <= 20 and len(files("fitting")) <= 12 and len(files("summaries")) <= 12
    assert sum(len(path.read_text().splitlines()) for path in files("runs")) <= 2400
    functions = [
        node for path in FILES for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    ]
    assert statistics.median((node.end_lineno or 0) - node.lineno + 1 for node in functions) <= 8


def test_summaries_and_records_do_not_import_torch() -> None:
    names = [module(path) for path in FILES if path.parent.name in ("summaries", "roles", "arms", "records")]
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize("path", [f for f in FILES if f.relative_to(ROOT).parts[0] in BELOW_THE_LINE], ids=name)
def test_below_the_line_are_no_paths_network_console_or_tables(path: Path) -> None:
    banned = {"pathlib", "os", "polars", "rich", "typer", "fsspec", "urllib", "sys", "vhs.console", "vhs.formats"}
    assert not banned & {part for found in imports(path) for part in (found, ".".join(found.split(".")[:2]))}


def test_timms_attention_is_touched_where_it_is_read_and_where_it_is_cut() -> None:
    inside = (
        "attn.qkv",
        "attn.proj",
        "attn.q_norm",
        "attn.k_norm",
        "attn.gate",
        ".qkv",
        ".proj.",
        "timm.layers import Attention",
    )
    for path in FILES:
        if path.name in ("seam.py", "surgery.py", "parts.py", "spec.py", "huggingface.py", "architectures.py"):
            continue  # the last three know names in files only
        text = path.read_text()
        assert not [word for word in inside if word in text], name(path)


def test_files_of_tests_are_not_imported() -> None:
    """What several need is in a module of its own, which pytest does not collect."""
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                found = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            tests = [module for module in found if module.rpartition(".")[2].startswith("test_")]
            assert not tests, f"{path.relative_to(TESTS)} imports {tests}"


def test_only_cli_ends_the_program() -> None:
    for path in FILES:
        if path.name not in ("cli.py", "__main__.py"):
            assert "sys.exit" not in path.read_text() and "os._exit" not in path.read_text(), name(path)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_functions_and_files_are_small_and_described(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a file says what it is"
    assert len(text.splitlines()) <= 300 or path.name == "schemas.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno
            assert length <= 50 or path.parent.name == "commands", f"{node.name} has {length} lines"
            assert not node.args.kwarg or node.name in ("__init__", "forward"), (
                f"{node.name} takes **{node.args.kwarg.arg}"
            )
            assert node.name.startswith("_") or ast.get_docstring(node) or len(node.body) < 9, (
                f"{node.name} says nothing"
            )


@pytest.mark.parametrize(
    ("arguments", "banned"),
    [
        (["--help"], ("torch", "polars", "matplotlib", "scipy")),
        (["plot", "{table}", "-o", "{folder}/x.png"], ("torch", "scipy", "timm")),
        (["info", "--say", "{table}"], ("torch", "scipy")),
        (["compare", "--help"], ("torch", "polars")),
    ],
)
def test_light_commands_stay_light(arguments: list[str], banned: tuple[str, ...], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(
        "model,epoch,step,steps_planned,lr,train_loss,n,n_correct,top1,loss\n" + "m,1,2,3,0.1,0.5,4,3,0.75,0.2\n"
    )
    if "info" in arguments:
        table = Path(__file__).parent / "transcripts" / "shift.csv"
    words = [word.format(table=table, folder=tmp_path) for word in arguments]
    code = f"import sys\nfrom vhs.cli import main\ncode = main({words!r})\nprint(code, *[m for m in {banned!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent, check=True)
    assert done.stdout.splitlines()[-1] == "0", done.stdout + done.stderr
