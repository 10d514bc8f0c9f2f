"""Tables: round trips in every format, and bad ones named by file, row and column."""

from pathlib import Path

import polars as pl
import pytest

from vhs.errors import InputError
from vhs.formats import schemas, tables

ROW = {
    "model": "m.safetensors",
    "epoch": 1,
    "step": 9,
    "steps_planned": 18,
    "lr": 1e-3,
    "train_loss": 1 / 3,
    "n": 7,
    "n_correct": 5,
    "top1": 5 / 7,
    "loss": 1e-17,
}


class TestTables:
    @pytest.mark.parametrize("form", tables.FORMATS)
    def test_round_trip(self, tmp_path: Path, form: str) -> None:
        table = tables.frame(schemas.TRAIN, [ROW, ROW | {"epoch": 2}])
        path = tmp_path / "t"
        path.write_bytes(tables.render(table, form, provenance={"seed": 3}))
        schema, read, part = tables.read(str(path))
        assert schema is schemas.TRAIN and read.equals(table) and not part
        if form == "parquet":
            assert tables.read_provenance(path) == {"seed": 3}

    def test_every_schema_round_trips_with_nulls(self, tmp_path: Path) -> None:
        sample = {"string": "x", "integer": 2**40, "real": 0.1 + 0.2, "flag": False}
        for schema in schemas.SCHEMAS.values():
            row = {c.name: None if c.nullable else sample[c.kind] for c in schema.columns}
            table = tables.frame(schema, [row])
            (tmp_path / "t.csv").write_bytes(tables.render(table, "csv"))
            found, read, _ = tables.read(str(tmp_path / "t.csv"))
            assert found is schema and read.equals(table), schema.name

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (
                lambda t: t.replace("lr,", "").replace("0.001,", ""),
                "column `lr` is missing from this train table. `vhs train` writes it",
            ),
            (lambda t: t.rstrip("\n"), "ends in the middle of a row"),
            (lambda t: t.replace("0.001", "quick"), "row 1: column `lr` is 'quick', expected a value of type real"),
            (lambda t: t.replace("0.001", ""), "row 1: column `lr` is empty"),
            (lambda t: t.replace(",1e-17,", ",,"), "row 1: column `loss` is empty"),
            (lambda t: t.splitlines()[0] + "\n", "has no rows"),
            (lambda t: t + t, "row 2 is a second header; tables were joined"),
            (lambda t: t.replace("0.001", "inf"), "row 1: column `lr` is 'inf'"),
            (lambda t: "\0\1" + t, "is no table but a binary file"),
            (lambda _: "", "is empty, a table was expected"),
            (lambda _: "a,b\n1,2\n", "is no vhs table: it starts with a, b, not with columns such as model"),
        ],
    )
    def test_bad_tables_name_file_row_and_column(self, tmp_path: Path, edit, message: str) -> None:
        path = tmp_path / "t.csv"
        path.write_text(edit(tables.render(tables.frame(schemas.TRAIN, [ROW]), "csv").decode()))
        with pytest.raises(InputError, match=message) as caught:
            tables.read(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)

    def test_a_condition_without_all_heads_is_refused(self) -> None:
        keys = {
            "model_id": "m",
            "shift": "clean",
            "severity": 0,
            "group": "all",
            "fill": "zero",
            "method": "exact",
            "unit": "head",
        }
        rows = [keys | {"layer": layer, "head": head} for layer in range(2) for head in range(2)]
        cut = [row | {"shift": "imagenet-c", "corruption": "contrast", "severity": 1} for row in rows[:3]]
        table = pl.DataFrame(
            [row | {"corruption": row.get("corruption")} for row in rows + cut], infer_schema_length=None
        )
        tables.check_grid(table.head(4), "t")
        with pytest.raises(InputError, match="condition imagenet-c/contrast:1 has 3 heads of 4"):
            tables.check_grid(table, "t")
