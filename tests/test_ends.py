"""The end of a table: its last column, who writes it, and what readers do where it is missing."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest

from vhs.errors import InputError
from vhs.formats import schemas, tables
from vhs.formats.tables import TABLE_ROWS, Ends
from vhs.output import TableOutput, finish

HERE = Path(__file__).resolve().parent / "transcripts"


def heads() -> pl.DataFrame:
    return tables.read(str(HERE / "heads.csv")).rows


def ended(form: str, path: Path) -> Path:
    path.write_bytes(tables.render(heads(), form))
    return path


@pytest.mark.parametrize("form", tables.FORMATS)
def test_the_mark_is_the_last_column_of_the_last_row_and_read_past_by_others(form: str, tmp_path: Path) -> None:
    path = ended(form, tmp_path / "t")
    reader = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}[form]
    table = reader(path)
    empty = 0 if form == "jsonl" else None
    marks = table[TABLE_ROWS].cast(pl.Int64).to_list()
    assert marks == [empty] * (len(heads()) - 1) + [len(heads())]
    found = tables.read(str(path))
    assert not found.part and TABLE_ROWS not in found.rows.columns and found.rows.equals(heads())


def test_no_schema_has_it() -> None:
    assert not [schema for schema in schemas.SCHEMAS.values() if TABLE_ROWS in schema.names]


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_cut_between_two_rows_is_seen(form: str, tmp_path: Path) -> None:
    lines = ended(form, tmp_path / "t").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").write_bytes(b"".join(lines[:27]))
    notes: list[str] = []
    found = tables.read(str(tmp_path / "cut"), note=notes.append)
    assert found.part and len(notes) == 1 and "is part of a table" in notes[0]
    with pytest.raises(InputError, match=r"its end is missing\. Write it again") as caught:
        tables.read(str(tmp_path / "cut"), Ends.WHOLE)
    assert caught.value.exit_code == 3
    assert tables.read(str(tmp_path / "cut"), Ends.PARTIAL).part


def test_joined_rows_of_whole_tables_are_whole_and_of_cut_ones_are_not(tmp_path: Path) -> None:
    header, *rows = ended("csv", tmp_path / "t").read_bytes().splitlines(keepends=True)
    (tmp_path / "two").write_bytes(b"".join([header, *rows, *rows]))
    assert not tables.read(str(tmp_path / "two")).part
    (tmp_path / "cut").write_bytes(b"".join([header, *rows[:-1], *rows]))
    assert tables.read(str(tmp_path / "cut")).part


def test_older_tables_have_no_end_to_miss() -> None:
    assert (
        TABLE_ROWS not in (HERE / "heads.csv").read_text() and not tables.read(str(HERE / "heads.csv"), Ends.WHOLE).part
    )


def test_an_edited_mark_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(tables.render(heads(), "csv").replace(f",{len(heads())}\n".encode(), b",many\n"))
    with pytest.raises(InputError, match="column `table_rows` holds something else than numbers of rows"):
        tables.read(str(path))


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_a_stream_holds_one_row_back_until_the_end(
    parts: int, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    table = heads()
    out = TableOutput(schemas.ABLATE, None, "csv")
    size = -(-len(table) // parts)
    sent = b""
    for start in range(0, len(table), size):
        out.add(table[start : start + size])
        sent += capfdbinary.readouterr().out
        assert sent.count(b"\n") == min(start + size, len(table)) - 1 + 1  # the header, and all rows but one
        assert b"".join(sent.splitlines(keepends=True)[1:]).count(f",{len(table)}\n".encode()) == 0
    finish(out)
    sent += capfdbinary.readouterr().out
    assert sent == tables.render(table, "csv")
    assert pl.read_csv(io.BytesIO(sent)).height == len(table)


class TestCommands:
    def test_a_pipe_without_its_end_is_refused_and_asked_for(self, vhs, tmp_path: Path) -> None:
        whole = ended("csv", tmp_path / "heads.csv").read_text().splitlines(keepends=True)
        Path("cut.csv").write_text("".join(whole[:26]))
        code, out, err = vhs("plot", "cut.csv", "-o", "x.svg")
        assert (code, out) == (0, "x.svg\n") and err.count("\n") == 1 and "is part of a table" in err
        assert "part of a table: " in Path("x.svg").read_text()
        assert vhs("plot", "cut.csv", "--whole", "-o", "x.svg")[0] == 3
        assert vhs("plot", "cut.csv", "--whole", "--partial", "-o", "x.svg")[0] == 2
        code, out, _ = vhs("info", "--say", "cut.csv")
        assert code == 0 and out.startswith("(part of a table) On clean images")
        assert "of a table" not in vhs("info", "--say", "heads.csv")[1]

    def test_a_real_pipe(self, tmp_path: Path) -> None:
        import subprocess
        import sys

        ended("csv", tmp_path / "heads.csv")
        script = f'head -n 26 heads.csv | {sys.executable} -m vhs plot $FLAGS -o x.svg; echo "rc $?"'
        environment = {"PYTHONPATH": str(HERE.parent.parent), "PATH": "/usr/bin:/bin"}
        for flags, code in (("", 3), ("--partial", 0)):
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, env=environment | {"FLAGS": flags}, capture_output=True, text=True
            )
            assert f"rc {code}" in done.stdout, done.stderr
            assert ("--partial reads it" in done.stderr) is (code == 3)

    def test_folds_of_another_table_are_refused(self, vhs, toy_checkpoint: Path) -> None:
        assert vhs("ablate", toy_checkpoint, "--shift", "contrast:3", "--max-samples", 32, "-o", "t.csv")[0] == 0
        assert vhs("compare", "t.csv")[0] == 0
        Path("t.csv").write_text(Path("t.csv").read_text().replace("contrast,3", "contrast,4"))
        code, _, err = vhs("compare", "t.csv")
        assert code == 4 and "t.folds.parquet: was written beside another t.csv" in err


def test_old_names_of_heads_are_read(tmp_path: Path) -> None:
    assert "3.1" in (HERE / "heads.csv").read_text() and heads()["heads"].drop_nulls().str.contains(r"^L\dH\d$").all()


def test_folds_that_lack_some_are_refused_whatever_their_number(vhs, toy_checkpoint: Path) -> None:
    assert vhs("ablate", toy_checkpoint, "--shift", "contrast:3", "--folds", "f.parquet", "-o", "t.csv")[0] == 0
    folds = tables.read("f.parquet").rows
    lacking = folds.filter(
        ~((pl.col("head") == 0) & (pl.col("fold") == 3) | (pl.col("head") == 1) & (pl.col("fold") == 4))
    )
    lacking.write_csv("l.csv")
    code, _, err = vhs("compare", "l.csv")
    assert code == 4 and "folds, " in err and "were expected. Was it cut off" in err
