"""The house: imports go down only, each thing is touched in one place, and files of tests stand by themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "vhs"
LEVELS = (
    ("cli", "__main__"), ("commands",), ("options", "completion", "notebook"), ("console", "output"), ("fitting",), ("runs",), ("figures",), ("summaries",), ("sources",),
    ("formats",), ("training",), ("measures",), ("models",), ("shifts",),
    ("errors", "batch", "grid", "counts", "seeds", "progress", "world", "__init__"),
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
    for module in imports(path):
        if module.startswith("vhs.") and not module.startswith(("vhs.__version__",)):
            target = module.split(".")[1]
            if own == "__init__" and target == "notebook":
                continue  # the lazy public names
            assert level(target) >= level(own), f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", [f for f in FILES if f.relative_to(ROOT).parts[0] in BELOW_THE_LINE], ids=name)
def test_below_the_line_are_no_paths_network_console_or_tables(path: Path) -> None:
    banned = {"pathlib", "os", "polars", "rich", "typer", "fsspec", "urllib", "sys", "vhs.console", "vhs.formats"}
    assert not banned & {part for module in imports(path) for part in (module, ".".join(module.split(".")[:2]))}


def test_timms_attention_is_touched_in_one_module() -> None:
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
        if path.name in ("seam.py", "parts.py", "spec.py", "huggingface.py", "architectures.py"):
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
