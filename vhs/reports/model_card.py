"""A model card in Hugging Face's format, from a checkpoint and tables."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from vhs import __version__
from vhs.errors import UsageError, VhsError
from vhs.figures import style, words
from vhs.formats.checkpoint_words import learned_from
from vhs.formats.checkpoints import CheckpointInfo
from vhs.models.spec import TimmSpec, ViTSpec
from vhs.reports import contents
from vhs.reports.opening import Named
from vhs.reports.page import page_file

TASK = "image-classification"
MOST_HEADS = 12
Rows = list[list[str]]


def render(named: Named, command: str) -> bytes:
    """The card of one model, with metadata that huggingface_hub has checked.

    Raises UsageError where it is not clear which model it is of.
    """
    from huggingface_hub import ModelCard
    from jinja2 import Environment

    path, info = _checkpoint(named)
    file = repr(Path(path or "model.safetensors").name)
    model_id, name = _model(named, path, info)
    own = _of_model(named, model_id)
    accuracy = own.tables.get("evalshift")
    heads, metadata = contents.head_rows(own), _metadata(name, info, own)
    text = Environment(trim_blocks=True, lstrip_blocks=True).from_string(page_file("card.md")).render(  # Markdown
        card_data=metadata.to_yaml(), name=_cell(name), lead=_lead(info, name),
        facts=[[_cell(key), _cell(value)] for key, value in _facts(info, own)], accuracy=_accuracy(accuracy),
        origins=_origins(accuracy), says=[_cell(text) for text in contents.sentences(own)], heads=heads[:MOST_HEADS],
        n_heads=len(heads), use=_use(path, accuracy), timm=_timm(info), file=file,
        mean=list(info.mean) if info else [], std=list(info.std) if info else [], fills=_fills(own),
        commands=[*dict.fromkeys(source.command for source in own.sources if source.command), command],
        version=__version__, weights=model_id,
    )  # fmt: skip
    if ModelCard(text).data.to_dict() != metadata.to_dict():
        raise VhsError("the card's metadata does not read back as it was written. Is a model or data set named oddly?")
    return (text.rstrip() + "\n").encode()


def _fills(own: Named) -> str:
    table = own.tables.get("ablate")
    return "zero" if table is None else ", ".join(table["fill"].unique().sort())


def _checkpoint(named: Named) -> tuple[str | None, CheckpointInfo | None]:
    if len(named.models) > 1:
        raise UsageError(f"--card: is of one model; {len(named.models)} checkpoints were named. Name one.")
    return next(iter(named.models.items()), (None, None))


def _model(named: Named, path: str | None, info: CheckpointInfo | None) -> tuple[str | None, str]:
    """(id, name) of the model the card is of."""
    found = named.models_of()
    if info is not None:
        if found and info.weights_id not in dict(found):
            raise UsageError(f"--card: no table is of {path}; they are of {', '.join(name for _, name in found)}.")
        return info.weights_id, style.short(str(path))
    if len(found) != 1:
        held = f"the tables hold {len(found)} models" if found else "the tables name no model"
        raise UsageError(f"--card: {held}. Name the checkpoint it is of, too.")
    return found[0][0], style.short(found[0][1])


def _of_model(named: Named, model_id: str | None) -> Named:
    """The same, of one model."""
    tables = {
        kind: table.filter(pl.col("model_id") == model_id) if "model_id" in table.columns else table
        for kind, table in named.tables.items()
    }
    return Named({kind: table for kind, table in tables.items() if len(table)}, [], named.models, named.sources)


def _metadata(name: str, info: CheckpointInfo | None, own: Named) -> Any:
    """What the hub reads: results in its model index. Raises what huggingface_hub raises for what it does not take."""
    from huggingface_hub import EvalResult, ModelCardData

    accuracy = own.tables.get("evalshift")
    results = [
        EvalResult(
            task_type=TASK, dataset_type=row["data"].partition("/")[0], dataset_name=row["data"],
            dataset_split=row["data"].partition("/")[2] or None, dataset_config=row["condition"],
            metric_type="accuracy", metric_name="top-1 accuracy", metric_value=row["top1"], metric_args={"n": row["n"]},
        )
        for row in _results(accuracy)
    ] + _corruption_error(own)  # fmt: skip
    trained_on = info.data.get("train", {}).get("name") if info else None
    return ModelCardData(
        library_name="timm" if _timm(info) else "vhs", pipeline_tag=TASK, model_name=name, eval_results=results or None,
        datasets=[trained_on] if trained_on else None, metrics=["accuracy"] if results else None,
        tags=["vision-transformer", "attention-heads", "robustness", "vhs"],
    )  # fmt: skip


def _corruption_error(own: Named) -> list[Any]:
    """The mean over the 15 corruptions, under the name of its kind."""
    from huggingface_hub import EvalResult

    table = own.tables.get("mce")
    if table is None:
        return []
    row = table.filter((pl.col("corruption") == "all") & pl.col("category").is_null()).row(0, named=True)
    value = row["error"] if row["ce"] is None else row["ce"]
    made = EvalResult(
        task_type=TASK, dataset_type=row["data"].partition("/")[0], dataset_name=row["data"],
        dataset_config="imagenet-c", metric_type=row["metric"], metric_name=words.plain(row["metric"]),
        metric_value=value, metric_args={"n": row["n"]},
    )  # fmt: skip
    return [made]


def _results(accuracy: pl.DataFrame | None) -> Iterator[dict[str, Any]]:
    """Clean, then the mean over each family or set of shifts."""
    if accuracy is None:
        return
    for (_, shift), rows in _whole(accuracy).group_by("data", "shift", maintain_order=True):
        n = rows["n"].to_numpy()
        interval = f"{rows['top1_lo'][0]:.1%} to {rows['top1_hi'][0]:.1%}" if len(rows) == 1 else ""
        condition = str(shift) if len(rows) == 1 else f"{shift}, mean of {len(rows)} conditions"
        top1 = float((rows["n_correct"].to_numpy() / n).mean())
        yield {"data": rows["data"][0], "condition": condition, "top1": top1, "interval": interval, "n": int(n[0])}


def _whole(accuracy: pl.DataFrame) -> pl.DataFrame:
    """The rows of all samples over all classes."""
    return accuracy.filter((pl.col("group") == "all") & (pl.col("label_set") == "all"))


def _accuracy(accuracy: pl.DataFrame | None) -> Rows:
    """The same as rows, with categories."""
    if accuracy is None:
        return []
    found = [[row["condition"], f"{row['top1']:.1%}", row["interval"], f"{row['n']:,}"] for row in _results(accuracy)]
    known = _whole(accuracy).filter(pl.col("category").is_not_null())
    for (category,), rows in known.group_by("category", maintain_order=True):
        found.append(
            [f"{category}, mean of {len(rows)}", f"{rows['top1'].to_numpy().mean():.1%}", "", f"{rows['n'][0]:,}"]
        )
    return [[_cell(cell) for cell in row] for row in found]


def _origins(accuracy: pl.DataFrame | None) -> str:
    kinds = [] if accuracy is None else accuracy.filter(pl.col("shift") != "clean")["origin"].unique().sort().to_list()
    told = {
        "generated": "generated on the fly",
        "procedural": "generated with procedural frost",
        "stored": "stored files",
    }
    return " or ".join(told.get(kind, kind) for kind in kinds) or "none"


def _lead(info: CheckpointInfo | None, name: str) -> str:
    if info is None:
        return f"What the attention heads of {_cell(name)} do, measured by vhs."
    return (
        f"A vision transformer that {_answers(info)}, with what each of its attention heads does on "
        f"clean and shifted images."
    )


def _answers(info: CheckpointInfo) -> str:
    """What its outputs are."""
    count = len(info.classes)
    return f"answers {count} classes" if info.task == "classification" else f"predicts {count} numbers"


def _facts(info: CheckpointInfo | None, own: Named) -> list[tuple[str, object]]:
    if info is None:
        return [("model", name) for _, name in own.models_of()]
    spec, data = info.spec, info.data
    size = f"{spec.height} x {spec.width} px, {spec.channels} channel{'s' * (spec.channels > 1)}"
    found: list[tuple[str, object]] = [
        ("input", size),
        ("classes" if info.task == "classification" else "targets", _listed(info.classes)),
    ]
    found.append(("architecture", spec.name if isinstance(spec, TimmSpec) else _architecture(spec)))
    found += [(f"{split} data", f"{entry['name']}, {entry['hash']}") for split, entry in data.items()]
    recipe = {key: info.recipe[key] for key in ("epochs", "batch", "lr", "weight_decay") if key in info.recipe}
    found.append(("training", ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in recipe.items())))
    return [*found, ("updates, seed", f"{info.step:,}, {info.seed}"), *learned_from(info), ("weights", info.weights_id)]


def _architecture(spec: ViTSpec) -> str:
    return f"{spec.depth} layers, width {spec.dim}, heads a layer {spec.heads}, patches {spec.patch}"


def _listed(names: tuple[str, ...]) -> str:
    return f"{len(names)}: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}"


def _timm(info: CheckpointInfo | None) -> dict[str, Any] | None:
    return info.timm if info is not None and info.timm is not None else None


def _use(path: str | None, accuracy: pl.DataFrame | None) -> str:
    file = Path(path or "model.safetensors").name
    shift = None if accuracy is None else next((name for name in accuracy["shift"] if name != "clean"), None)
    return f"vhs ablate {shlex.quote(file)} --data DATA --shift {shlex.quote(shift or 'imagenet-c')} -o heads.csv"


def _cell(value: object) -> str:
    """Text that stays text in a Markdown table, whatever a class or file is called."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)
    plain = " ".join(text.split()).replace("\\", "\\\\")
    for letter in "|<>`*[]":
        plain = plain.replace(letter, f"\\{letter}")
    return plain
