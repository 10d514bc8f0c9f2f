"""Pages from templates: numbers as words, rows by name, what a template cannot do, and the command around it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shells import environment
from vhs import output
from vhs.errors import InputError, UsageError, VhsError
from vhs.formats import tables
from vhs.progress import unheard
from vhs.reports import filled, named_tables, sandbox, telling

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "tests" / "transcripts"
SHIFT = TABLES / "shift.csv"
DOCS = (ROOT / "docs" / "formats.md").read_text()
LOG = "model,epoch,step,steps_planned,lr,train_loss,n,n_correct,top1,loss\n"


@pytest.fixture
def page(tmp_path: Path):
    """The text that a template becomes: page("{{ … }}", "NAME=FILE") -> text."""

    def fill(text: str, *things: str) -> str:
        template = tmp_path / "page.md.jinja"
        template.write_text(text)
        sources = named_tables.named(things or [str(SHIFT)])
        return filled.render(template, named_tables.NamedTables(sources, tables.read, unheard)).decode()

    return fill


@pytest.fixture
def refused(page):
    """What is said of a template that is not filled, in one line and without where it is."""

    def fill(text: str, *things: str) -> str:
        with pytest.raises(VhsError) as raised:
            page(text, *things)
        said = str(raised.value)
        assert "\n" not in said and said.count("page.md.jinja") == 1
        return said.rpartition("page.md.jinja")[2].removeprefix(", ").removeprefix(": ")

    return fill


# --- numbers as words ---

TOLD = [
    ("percent", 0.853, {}, "85.3 %"), ("percent", 0, {}, "0.0 %"), ("percent", -0.0, {}, "0.0 %"),
    ("percent", 1, {"digits": 0}, "100 %"), ("percent", -0.0004, {}, "0.0 %"), ("percent", None, {}, "–"),
    ("points", 0.009, {}, "+0.9"), ("points", -0.0103, {}, "-1.0"), ("points", -0.0, {}, "0.0"),
    ("points", -0.0004, {}, "0.0"), ("points", 0.0004, {}, "0.0"), ("points", 0.0004, {"digits": 2}, "+0.04"),
    ("points", -12.0, {}, "-1200.0"), ("points", None, {}, "–"),
    ("number", 0.567, {}, "0.57"), ("number", -0.567, {}, "-0.57"), ("number", -0.001, {}, "0.00"),
    ("number", 1e-300, {}, "0.00"), ("number", 1e15, {"digits": 0}, "1000000000000000"), ("number", 3, {}, "3.00"),
    ("number", None, {}, "–"), ("signed", 0.567, {}, "+0.57"), ("signed", -0.567, {}, "-0.57"),
    ("signed", -1e-9, {}, "0.00"), ("signed", 0, {"digits": 0}, "0"), ("signed", None, {}, "–"),
    ("thousands", 10000, {}, "10,000"), ("thousands", 999, {}, "999"), ("thousands", -1234567.4, {}, "-1,234,567"),
    ("thousands", -0.2, {}, "0"), ("thousands", 1234.56, {"digits": 1}, "1,234.6"), ("thousands", None, {}, "–"),
    ("p", 0.031, {}, "p = .031"), ("p", 0.31, {}, "p = .31"), ("p", 0.0009999, {}, "p < .001"),
    ("p", 0.001, {}, "p = .001"), ("p", 0.0, {}, "p < .001"), ("p", 1, {}, "p = 1.00"), ("p", 0.09949, {}, "p = .099"),
    ("p", 0.0996, {}, "p = .10"), ("p", None, {}, "–"), ("q", 0.031, {}, "q = .031"), ("q", 1e-12, {}, "q < .001"),
    ("q", None, {}, "–"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "options", "wanted"), TOLD)
def test_known_answers(name: str, value: float | None, options: dict[str, int], wanted: str) -> None:
    assert telling.FILTERS[name](value, **options) == wanted


ROW = {"value": 0.009, "lo": -0.0101, "hi": 0.0281, "p": 0.31, "q": 0.4, "n": 5}


def test_intervals_and_effects() -> None:
    assert telling.interval(ROW, "points") == "+0.9 (-1.0 to +2.8)"
    assert telling.interval(ROW, "percent", digits=2) == "0.90 % (-1.01 to 2.81)"
    assert telling.interval(ROW, "share", digits=2) == "0.90 % (0.00 to 2.81)"
    assert telling.interval({"value": 0.9, "lo": 0.7, "hi": 1.1}, "share", digits=0) == "90 % (70 to 100)"
    assert telling.interval(ROW) == "0.01 (-0.01 to 0.03)"
    assert telling.effect(ROW, "points") == "+0.9 (-1.0 to +2.8), p = .31, q = .40"
    assert telling.effect(ROW | {"q": None}, "signed", digits=3) == "+0.009 (-0.010 to +0.028), p = .31"
    assert telling.interval(ROW | {"lo": None, "hi": None}, "points") == "+0.9"
    assert (
        telling.interval(ROW | {"value": None}, "points") == telling.effect(ROW | {"value": None}, "signed")[:1] == "–"
    )
    drop = {"drop": -0.0001, "drop_lo": -0.02, "drop_hi": 0.0, "p_drop": 0.0001, "p": 0.9}
    assert telling.effect(drop, "points", of="drop") == "0.0 (-2.0 to 0.0), p < .001"
    above = {"above": 0.2, "above_lo": 0.1, "above_hi": 0.3, "above_q": 0.02, "lo": 7, "hi": 8}
    assert telling.effect(above, of="above") == "0.20 (0.10 to 0.30), q = .020"


def test_bounds_of_another_column_are_not_taken() -> None:
    with pytest.raises(InputError, match=r"`p` has no bounds: `lo` and `hi` are of `value`. Write of='value'"):
        telling.interval(ROW, of="p")
    errors = {"ce": 0.8, "relative_ce": None, "error": 0.3, "lo": 0.7, "hi": 0.9}  # of mce: bounds are of ce, if known
    with pytest.raises(InputError, match="are of `ce`"):
        telling.interval(errors, of="error")
    assert telling.interval(errors, of="ce") == "0.80 (0.70 to 0.90)"
    assert telling.interval(errors | {"ce": None}, of="error") == "0.30 (0.70 to 0.90)"
    with pytest.raises(InputError, match="`n` has no bounds: there is no column `n_lo`"):
        telling.interval({"n": 3}, of="n")
    with pytest.raises(InputError, match="no column `valeu`"):
        telling.interval(ROW, of="valeu")
    with pytest.raises(InputError, match="'pints' is no way to tell"):
        telling.interval(ROW, "pints")
    with pytest.raises(InputError, match="neither p nor q"):
        telling.effect({"r": 1, "lo": 0, "hi": 1}, of="r")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "0.5", [1], 1e308])
def test_what_is_no_number_is_not_told(value: object) -> None:
    with pytest.raises(InputError, match="is no number"):
        telling.percent(value)  # type: ignore[arg-type]
    for value in (1.2, -0.1):
        with pytest.raises(InputError, match="is no probability"):
            telling.p_value(value)
    for digits in (-1, 16, 2.0, True, "3f}{"):
        with pytest.raises(InputError, match="Expected 0 to 15"):
            telling.number(0.5, digits)  # type: ignore[arg-type]


FLOATS = st.floats(-1e6, 1e6, allow_subnormal=True)


@settings(max_examples=25, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(0, 8))
def test_floats_come_back_within_the_digits_told(
    tmp_path_factory: pytest.TempPathFactory, values: list[float], digits: int
) -> None:
    folder = tmp_path_factory.mktemp("floats")
    (folder / "t.csv").write_text(LOG + "".join(f"m,1,2,3,0.1,0.5,4,3,0.75,{value!r}\n" for value in values))
    told = f"{{{{ r.loss | number({digits}) }}}} {{{{ r.loss | points({digits}) }}}} {{{{ r.loss | thousands({digits}) }}}} {{{{ r.loss }}}}"
    (folder / "t.jinja").write_text(f"{{% for r in rows('t') %}}\n{told}\n{{% endfor %}}\n")
    sources = named_tables.named([str(folder / "t.csv")])
    made = filled.render(folder / "t.jinja", named_tables.NamedTables(sources, tables.read, unheard)).decode()
    half = 0.5000001 * 10**-digits
    for value, line in zip(values, made.splitlines(), strict=True):
        number, points, thousands, whole = line.split()
        assert abs(float(number) - value) <= half + 1e-15 * abs(value)
        assert abs(float(points) - 100 * value) <= half + 1e-13 * abs(value)
        assert float(thousands.replace(",", "")) == float(number) and float(whole) == value
        assert not re.search(r"[-+]0(\.0*)?( |$)", line) and (points[0] in "+-") == bool(points.strip("0."))


# --- rows ---


def test_rows_are_chosen_by_their_columns(page) -> None:
    assert (
        page("{{ count('shift') }} {{ count('shift', severity=5) }} {{ count('shift', severity=[3, 0]) }}") == "5 2 3"
    )
    assert page("{{ count('shift', corruption=none) }} {{ count('shift', category=[none, 'noise']) }}") == "1 3"
    assert (
        page("{{ count('shift', severity=4) }} {{ count('shift', top1=0.691) }} {{ count('shift', severity=[]) }}")
        == "0 1 0"
    )
    assert (
        page("{{ row('shift', shift='clean').top1 }} {{ row('shift', top1=0.691)['corruption'] }}") == "0.8535 contrast"
    )
    assert (
        page("{{ rows('s', severity=5) | map(attribute='corruption') | join(', ') }}", f"s={SHIFT}")
        == "shot_noise, contrast"
    )
    assert page("{% for r in rows('shift') %}{{ loop.index ~ '/' ~ loop.length }} {% endfor %}")[:8] == "1/5 2/5 "


def test_a_column_goes_before_a_dictionarys_method(page) -> None:
    row = named_tables.Row("t", {"values": 3, "n": 4})
    assert sandbox.Sandbox().compiled("{{ r.values }}{{ r.items() | list | length }}").render(r=row) == "32"


def test_what_is_not_there_is_told(refused) -> None:
    several = refused("\n\n{{ row('shift', severity=3).top1 }}")
    assert several.startswith(
        "line 3: `shift` has 2 rows where severity = 3; one was expected: they differ in category, corruption, "
    )
    assert several.endswith("ece. Name one of these, too.")
    assert refused("{{ row('shift', corruption='fog') }}") == (
        "line 1: `shift` has no row where corruption = 'fog'; one was expected. Its `corruption` is None, 'shot_noise', 'contrast'."
    )
    assert refused("{{ row('shift', shift='clean', severity=3) }}").endswith(
        "Each of these has rows, but none has all of them."
    )
    assert refused("{{ row('shift', shif='x') }}").startswith(
        "line 1: `shift` has no column `shif`. It has model, model_id, "
    )
    assert refused("{{ row('shift', shift='clean').tpo1 }}").startswith(
        "line 1: `shift` has no column `tpo1`. It has model,"
    )
    assert refused("{{ row('shift', shift='clean')['tpo1'] }}").startswith("line 1: `shift` has no column `tpo1`.")
    assert "has no column `tpo1`" in refused("{{ rows('shift') | map(attribute='tpo1') | join }}")
    assert (
        refused("{{ count('shfit') }}") == "line 1: there is no table `shfit`. There is shift; others are named beside."
    )
    for wrong in ("'3'", "3.0", "true", "['3']"):
        assert "column `severity` of `shift` is of type integer" in refused(
            f"{{{{ count('shift', severity={wrong}) }}}}"
        )
    assert "of type string" in refused("{{ count('shift', shift=3) }}")
    assert "'nix' is undefined" in refused("{{ count('shift', shift=nix) }}")
    assert "all equal" in refused("{{ row('t') }}", f"t={twice()}")


def twice() -> Path:
    """A table of two equal rows."""
    path = Path("twice.csv").absolute()
    path.write_text(LOG + "m,1,2,3,0.1,0.5,4,3,0.75,0.2\n" * 2)
    return path


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_names_of_tables(tmp_path: Path) -> None:
    assert list(named_tables.named(["a/heads.folds.parquet", "x=b/t.csv", "-", "y=-"])) == [
        "heads.folds",
        "x",
        "stdin",
        "y",
    ]
    (tmp_path / "lr=1.csv").write_text("")
    assert named_tables.named(["lr=1.csv", "a/lr=2/t.csv"]) == {"lr=1": "lr=1.csv", "t": "a/lr=2/t.csv"}
    with pytest.raises(VhsError, match=r"a/t.csv and b/t.csv: are both named t. Name one otherwise, OTHER=b/t.csv"):
        named_tables.named(["a/t.csv", "b/t.csv"])
    with pytest.raises(VhsError, match=r"vit.safetensors: is no table"):
        named_tables.named(["vit.safetensors"])


def test_sentences_tables_and_commands(page, refused, vhs, tmp_path: Path) -> None:
    said = vhs("info", "--say", SHIFT)[1].strip()
    assert page("{{ say('shift') }}") == said and said.startswith("vit answers")
    assert "has no sentence where severity = 5: " in refused("{{ say('shift', severity=5) }}")
    assert page("{{ say('shift', severity=[0, 3]) }}").endswith("worst contrast 3 with 69.1%.")
    for kind, options in (("heads", "kind='scatter'"), ("shift", ""), ("agreement", "metric='loss'")):
        words = [part for key, _, value in [options.partition("=")] if key for part in (f"--{key}", value.strip("'"))]
        shown = vhs("plot", TABLES / f"{kind}.csv", "--format", "md", *words)[1]
        assert (
            page(f"{{{{ behind('{kind}'{', ' if options else ''}{options}) }}}}\n", str(TABLES / f"{kind}.csv"))
            == shown
        )
    assert page("{{ behind('shift', form='tex') }}").startswith(r"\begin{table}")
    assert refused("{{ behind('shift', form='html') }}") == "line 1: form is 'html'; expected tex or md."
    made = tables.render(tables.read(str(SHIFT)).rows, "parquet", provenance={"command": "vhs evalshift v.safetensors"})
    (tmp_path / "made.parquet").write_bytes(made)
    told = page("{{ command('made') }} {{ command('shift') is none }}", "made.parquet", str(SHIFT))
    assert told == "vhs evalshift v.safetensors yes"


def test_a_part_of_a_table_is_said_to_be_one(page, tmp_path: Path) -> None:
    whole = tables.render(tables.read(str(SHIFT)).rows, "csv").decode().splitlines(keepends=True)
    (tmp_path / "cut.csv").write_text("".join(whole[:-1]))
    assert page("{{ say('cut') }}", "cut.csv").startswith("(part of a table) vit answers")


def test_markdown_tables(page, refused) -> None:
    columns = "{'a|b': 'corruption', 'top-1': \"row | interval('percent', of='top1')\", 'n': 'n | thousands', 'x': 'shift ~ severity'}"
    assert page(f"{{{{ table('shift', {columns}, severity=[0, 5]) }}}}\n") == (
        "| a\\|b | top-1 | n | x |\n|---|---|---|---|\n"
        "| – | 85.4 % (83.7 to 86.8) | 2,000 | clean0 |\n"
        "| shot_noise | 85.5 % (83.9 to 87.0) | 2,000 | imagenet-c5 |\n"
        "| contrast | 17.2 % (15.6 to 18.9) | 2,000 | imagenet-c5 |\n"
    )
    below = "line 2: table(), below 'x', "
    assert refused("\n{{ table('shift', {'x': 'tpo1 | percent'}) }}").startswith(
        f"{below}'tpo1 | percent': 'tpo1' is undefined. There are model,"
    )
    assert refused("\n{{ table('shift', {'x': 'top1 | prcent'}) }}").startswith(
        f"{below}'top1 | prcent': No filter named 'prcent'."
    )
    assert refused("\n{{ table('shift', {'x': 'top1 |'}) }}").startswith(f"{below}'top1 |': expected token 'name'")
    assert refused("\n{{ table('shift', {'x': 'shift | percent'}) }}").endswith(
        "`clean` is no number. Name a column of numbers."
    )
    assert refused("{{ table('shift', ['top1']) }}").startswith("line 1: columns of table() are headings")
    assert refused("{{ table('shift', {'x': 'n'}, severity=4) }}").startswith("line 1: `shift` has no rows for a table")


# --- what a template cannot do ---

WRONG = [
    ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
    ("{{ row('shift', shift='clean').__init__ }}", "access to attribute '__init__'"),
    ("{{ rows.__globals__ }}", "access to attribute '__globals__' of 'function' object is unsafe"),
    ("{{ cycler.__init__.__globals__ }}", "is unsafe"),
    ("{{ rows('shift') | map(attribute='__class__') | join }}", "has no column `__class__`"),
    ("{{ rows('shift').append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
    ("{{ row('shift', shift='clean').update(n=1) }}", "access to attribute 'update'"),
    ("{{ '{0.__class__}'.format(1) }}", "access to attribute 'format' of 'str' object is unsafe"),
    ("{{ '%99999999d' % 1 }}", "% is of numbers here"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "takes more than 200,000 steps"),
    ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}", "longer than 64 MiB"),
    ("{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", "result of + is too large"),
    ("{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}", "result of * is too large"),
    ("{{ 'a' * 10 ** 9 }}", "result of * is too large"), ("{{ 9 ** (9 ** 9) }}", "result of ** is too large"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "maximum recursion depth"),
    ("{% for i in range(3) recursive %}{% endfor %}", "loops that call themselves are not run"),
    ("{{ [1, 2] | random }}", "No filter named 'random'. Numbers are told by percent, "), ("{{ lipsum() }}", "'lipsum' is undefined"),
    ("{{ nix }}", "'nix' is undefined. There are rows, row, count,"), ("{% if nix %}{% endif %}", "'nix' is undefined"),
    ("{{ nix | percent }}", "'nix' is undefined"), ("{{ rows }}", "a function would be printed"),
    ("{{ row('shift', shift='clean') }}", "a Row would be printed"), ("{{ rows('shift') }}", "a list would be printed"),
    ("{{ 'a' ~ rows }}", "a function would be printed"), ("{{ [rows] | join }}", "a function would be printed"),
    ("{{ rows | string }}", "a function would be printed"), ("{{ none }}", "an empty cell would be printed"),
    ("{{ 1 / 0 }}", "division by zero"), ("{{ none - 1 }}", "unsupported operand"), ("{{ 1e300 * 1e300 }}", "inf would be printed"),
    ("{{ rows() }}", "rows() missing 1 required positional argument"), ("{{ behind('shift', x=1) }}", "behind() got an unexpected"),
    ("{% for x in %}", "Expected an expression"), ("{% if true %}", "Unexpected end of template"),
    (r"\newcommand{#1}", "Missing end of comment tag. Text that is not for Jinja stands between {% raw %} and {% endraw %}."),
    ("{{ '\\ud800' }}", "surrogates not allowed"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), WRONG, ids=[text[:40] for text, _ in WRONG])
def test_what_does_not_work_is_one_line(refused, text: str, wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MOST_STEPS", 200_000)
    said = refused(f"first\n\n{text}\n")
    assert wanted in said
    assert said.startswith("line 3: ") or wanted.startswith(("surrogates", "Unexpected end"))


def test_the_line_is_that_of_the_expression(refused) -> None:
    assert refused("{% macro f(x) %}\n\n{{ x | percent }}{% endmacro %}\n\n{{ f('a') }}").startswith(
        "line 3: `a` is no number"
    )
    assert refused("{% for r in rows('shift') %}\n{{ r.n }}\n{{ r.corruption }}{% endfor %}").startswith(
        "line 3: an empty cell"
    )


def test_text_is_kept_as_it_is(page) -> None:
    latex = "\\begin{tabular}{ll} % <a> & \"b\"\n{% for r in rows('shift', severity=5) %}\n  {{ r.corruption | tex }} & {{ r.top1 | percent | tex }} \\\\\n{% endfor %}\n\\end{tabular}\n\n"
    assert page(latex) == (
        '\\begin{tabular}{ll} % <a> & "b"\n  shot\\_noise & 85.5 \\% \\\\\n  contrast & 17.2 \\% \\\\\n\\end{tabular}\n\n'
    )
    assert page(
        "{{ 0.0001 | p | tex }} {{ '<b>' }} {{ '<b>' | e }} {{ true }} {{ -0.0 }} {{ none | default('x', true) }}"
    ) == ("p $<$ .001 <b> &lt;b&gt; yes 0.0 x")
    assert page("no numbers\n\n") == "no numbers\n\n" and page("ä – ²") == "ä – ²"


# --- the command ---


def test_the_command_and_the_notebook_write_the_same_bytes(vhs, tmp_path: Path) -> None:
    import vhs as package

    Path("paper.tex.jinja").write_text(
        "{{ say('shift') | tex }}\n{{ behind('h', form='tex') }}\n{{ count('shift') }}\n"
    )
    asked = (SHIFT, f"h={TABLES / 'heads.csv'}", "--template", "paper.tex.jinja")
    assert vhs("report", *asked) == (0, "paper.tex\n", "")
    made = Path("paper.tex").read_bytes()
    assert vhs("report", *asked, "-o", "other.txt")[0] == 0 and Path("other.txt").read_bytes() == made
    assert vhs("report", *asked, "-o", "-") == (0, made.decode(), "")
    heads = tables.read(str(TABLES / "heads.csv")).rows
    text = package.report(SHIFT, {"h": heads}, template="paper.tex.jinja", out="here.tex")
    assert text.encode() == made == Path("here.tex").read_bytes()
    assert package.report(str(SHIFT), f"h={TABLES / 'heads.csv'}", template=Path("paper.tex.jinja")) == text
    with pytest.raises(package.UsageError, match=r"a table has no name for the template. Give it one"):
        package.report(heads, template="paper.tex.jinja")
    with pytest.raises(package.UsageError, match=r"^title: is not of a page from template, which has its own words"):
        package.report(SHIFT, template="paper.tex.jinja", title="x")
    with pytest.raises(package.InputError, match=r"paper.tex.jinja, line 1: there is no table `shift`. There is h"):
        package.report({"h": heads}, template="paper.tex.jinja")
    with pytest.raises(package.UsageError, match="is an input of this command"):
        package.report(SHIFT, template="paper.tex.jinja", out="paper.tex.jinja")


def test_the_table_behind_an_ablation_has_the_intervals_of_its_folds(vhs, toy_checkpoint: Path) -> None:
    import vhs as package
    from vhs.accepted import Ablated

    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:2,5", "--threads", 1, "-o", "heads.csv")[0] == 0
    Path("t.jinja").write_text("{{ behind('heads') }}\n")
    shown = vhs("plot", "heads.csv", "--format", "md")[1]
    assert vhs("report", "heads.csv", "--template", "t.jinja", "-o", "-")[1] == shown and shown.count("[") == 12
    rows, folds = (tables.read(name).rows for name in ("heads.csv", "heads.folds.parquet"))
    assert package.report({"heads": Ablated(rows, folds, pl.DataFrame())}, template="t.jinja") == shown
    assert package.report({"heads": rows}, template="t.jinja").count("[") == 6
    Path("c.jinja").write_text("{{ command('heads') }}")
    assert package.report("heads.csv", template="c.jinja") == output.command_line()


def test_a_table_comes_through_the_pipe_without_torch(tmp_path: Path) -> None:
    Path("t.j2").write_text("{{ say('stdin') }}{{ behind('shift') | upper }}{{ count('stdin') }}\n")
    code = f"import sys\nfrom vhs.cli import main\nmain(['report', '-', {str(SHIFT)!r}, '--template', 't.j2'])\nprint([m for m in ('torch', 'scipy', 'timm') if m in sys.modules])"
    with SHIFT.open("rb") as piped:
        done = subprocess.run(
            [sys.executable, "-c", code], stdin=piped, capture_output=True, env=environment(), check=True
        )
    assert done.stdout == b"t\n[]\n" and done.stderr == b""
    assert Path("t").read_text().startswith("vit answers 85.4%") and Path("t").read_text().endswith("|5\n")


def test_the_command_refuses(vhs, tmp_path: Path) -> None:
    Path("t.jinja").write_text("{{ count('shift') }}\n")
    Path("plain.md").write_text("{{ nix }}")
    Path("binary.jinja").write_bytes(b"\xff\xfe")
    Path("link.md").symlink_to("t.jinja")
    asked = ("report", SHIFT, "--template")
    for wrong, code, wanted in (
        (("t.jinja", "-o", "t.jinja"), 2, "t.jinja: is an input of this command; writing there would destroy it"),
        (("t.jinja", "-o", "link.md"), 2, "link.md: is an input of this command"),
        (("t.jinja", "-o", SHIFT), 2, "is an input of this command"),
        (("t.jinja", "--card", "c.md"), 2, "--card: is not of a page from --template, which has its own words. Drop one of them."),
        (("t.jinja", "--title", "x"), 2, "--title: is not of a page from --template"),
        (("plain.md",), 2, "--template plain.md: does not end in .jinja or .j2. Name the page with -o."),
        (("plain.md", "-o", "x.md"), 3, "plain.md, line 1: 'nix' is undefined."),
        (("none.jinja",), 3, "none.jinja: No such file or directory. Name an existing template."),
        ((".", "-o", "x.md"), 3, ".: Is a directory."),
        (("binary.jinja",), 3, "binary.jinja: is no text in UTF-8"),
        (("t.jinja", TABLES / "heads.csv", f"shift={SHIFT}"), 2, "are both named shift. Name one otherwise, OTHER="),
        (("t.jinja", "nix.csv"), 3, "nix.csv: No such file or directory. Name an existing table."),
    ):  # fmt: skip
        found, out, err = vhs(*asked, *wrong)
        assert (found, out, err.count("\n")) == (code, "", 1) and wanted in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["binary.jinja", "link.md", "plain.md", "t.jinja"]
    assert Path("t.jinja").read_text() == "{{ count('shift') }}\n"


def test_a_page_is_written_whole_or_not_at_all(vhs, tmp_path: Path) -> None:
    Path("page.md").write_text("the page before")
    Path("page.md.jinja").write_text("one\n" * 5000 + "{{ row('shift').n }}")
    code, out, err = vhs("report", SHIFT, "--template", "page.md.jinja", "-o", "page.md")
    assert (code, out) == (3, "") and err.startswith(
        "vhs report: page.md.jinja, line 5001: `shift` has 5 rows; one was expected"
    )
    assert Path("page.md").read_text() == "the page before" and len(list(tmp_path.iterdir())) == 2
    assert vhs("report", SHIFT, "--template", "page.md.jinja", "-o", "-")[1] == ""


def test_the_example_of_the_docs(vhs) -> None:
    """docs/formats.md: the template, the command and the page that comes of it; every function and filter has a line."""
    section = DOCS.partition("### A page from a template")[2]
    template, page = re.findall(r"```(?:jinja|markdown)\n(.*?)```", section, re.S)[:2]
    Path("page.md.jinja").write_text(template)
    assert vhs("report", SHIFT, "--template", "page.md.jinja")[:2] == (0, "page.md\n")
    assert Path("page.md").read_text() == page
    for name in (*filled.FUNCTIONS, *telling.FILTERS, "tex"):
        assert re.search(rf"^\| `{name}\b", section, re.M), name


def test_what_is_defined_has_its_name(tmp_path: Path) -> None:
    template = tmp_path / "page.txt.jinja"
    template.write_text("{{ seeds }} seeds, {{ rate }}")
    import vhs

    assert vhs.report(SHIFT, template=template, define={"seeds": 5, "rate": "1e-3=x"}) == "5 seeds, 1e-3=x"
    for wrong in ({"row": 1}, {"no name": 1}):
        with pytest.raises(UsageError, match="define"):
            vhs.report(SHIFT, template=template, define=wrong)
    with pytest.raises(UsageError, match="define"):
        vhs.report(SHIFT, define={"a": 1})
