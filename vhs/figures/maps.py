"""What heads look at, laid over the images: sheets of a maps file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from vhs.errors import InputError, UsageError, choices
from vhs.figures import canvas, style
from vhs.figures import map_cells as of
from vhs.figures.canvas import Row, Sheet
from vhs.figures.map_cells import Wanted
from vhs.formats.map_file import MapFile, MapLayer
from vhs.grid import head_name


def sheet(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """Heads down, images across, on clean images; of few heads also under the first shift, below."""
    file = files[0]
    made = Sheet(of.title(file, wanted), of.columns(file), bar="row's most")
    heads = wanted.heads or of.default_heads(file, wanted)
    conditions = range(min(2 if len(heads) <= of.MOST_TWICE else 1, len(file.info.conditions)))
    for condition in conditions:
        made.rows.append(_images(file, condition))
    for head in heads:
        made.rows += _of_head(file, head, wanted, conditions)
    left = "" if len(heads) == sum(layer.heads for layer in of.stored(file)) else "  --layer and --head choose others."
    made.foot = f"{of.looker(file, wanted)}{left}"
    return canvas.draw(made)


def conditions(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """One head across conditions: the image and, below it, what the head looks at, by condition."""
    file = files[0]
    head = wanted.heads[0] if wanted.heads else of.strongest(file, wanted)
    made = Sheet(f"{of.title(file, wanted)}, head {head_name(*head)}", of.columns(file), bar="most of all")
    every = range(len(file.info.conditions))
    maps = {condition: list(of.maps(file, condition, head, wanted)) for condition in every}
    top = max(float(part.max()) for parts in maps.values() for part in parts)
    for condition in every:
        made.rows.append(_images(file, condition, of.right(file, condition)))
        made.rows.append(_row(file, condition, maps[condition], wanted, head[0], "", top))
    made.foot = of.looker(file, wanted)
    return canvas.draw(made)


def layers(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """The mean over each layer's heads, from the first layer down."""
    file = files[0]
    made = Sheet(f"{of.title(file, wanted)}, mean over heads", of.columns(file), bar="row's most")
    made.rows.append(_images(file, 0))
    for layer in of.stored(file):
        if wanted.layer in (None, layer.layer):
            made.rows.append(_of_layer(file, 0, layer, wanted, f"layer {layer.layer}"))
    made.foot = of.looker(file, wanted)
    return canvas.draw(made)


def through(kind: str) -> Callable[[Sequence[MapFile], Wanted], Figure]:
    """The figure of what goes through all layers: `rollout` or `relevance`."""

    def figure(files: Sequence[MapFile], wanted: Wanted) -> Figure:
        file = files[0]
        if file.find(kind, 0, 0) is None:
            raise InputError(f"{file.where}: has no {kind}: it is of networks all of whose tokens attend to all.")
        made = Sheet(f"{of.title(file, wanted)}, {kind}", of.columns(file), bar="cell's most")
        for condition in range(len(file.info.conditions)):
            made.rows.append(_images(file, condition, of.right(file, condition)))
            cells = []
            for sample, image in enumerate(of.images(file, condition)):
                part = of.square(file.get(kind, condition, sample).astype(float), of.stored(file)[0], where=file.where)
                cells.append(canvas.overlaid(image, part, float(part.max())))
            made.rows.append(Row(of.targets(file, condition) if kind == "relevance" else "", cells))
        made.foot = FEET[kind]
        return canvas.draw(made)

    return figure


def aligned(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """Aligned average maps: layers down, heads across; the middle is the patch that looks."""
    file = files[0]
    numbers = sorted({number for layer in of.stored(file) for _, number in layer.places})
    made = Sheet(
        f"{of.title(file, wanted)}, aligned average maps", [f"head {number}" for number in numbers], bar="cell's most"
    )
    for layer in of.stored(file):
        values = file.get("aligned", 0, layer.layer).astype(float)
        made_of = {number: part for (_, number), part in zip(layer.places, values, strict=True)}
        cells = [canvas.matrix(made_of[n], float(made_of[n].max())) if n in made_of else None for n in numbers]
        made.rows.append(Row(f"layer {layer.layer}", cells))
    count = len(file.info.samples)
    made.foot = f"Mean attention by displacement from the patch that looks (the middle), {count} images."
    return canvas.draw(made)


def activity(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """Levels of activity over the images, by condition, from blue to red."""
    file = files[0]
    if not file.info.activity:
        raise InputError(f"{file.where}: has no levels of activity. Make it with --activity K.")
    made = Sheet(f"{of.title(file, wanted)}, {file.info.activity} levels of activity", of.columns(file))
    for condition in range(len(file.info.conditions)):
        made.rows.append(_images(file, condition))
        cells = [
            canvas.levels(image, file.get("activity", condition, sample), file.info.activity)
            for sample, image in enumerate(of.images(file, condition))
        ]
        made.rows.append(Row("", cells))
    made.foot = "Mean attention of all heads, 2 x 2 patches pooled, clustered in each image: blue least, red most."
    return canvas.draw(made)


def top(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """The images that drive one head most and least, each with what the head looks at."""
    file = files[0]
    if not file.info.top:
        raise InputError(f"{file.where}: does not say which images drive heads. Make it with --top-images K.")
    head = wanted.heads[0] if wanted.heads else of.strongest(file, wanted)
    ranked = file.info.top.get(head_name(*head))
    if ranked is None:
        raise UsageError(f"--head {head_name(*head)}: the file ranks images for {choices(list(file.info.top)[:8])}, ….")
    made = Sheet(f"{of.title(file, wanted)}, head {head_name(*head)}", [], bar="row's most")
    every = list(of.maps(file, 0, head, wanted))
    for kind in ("most", "least"):
        chosen = [(int(sample), score) for sample, score in ranked[kind]]
        maps = [every[sample] for sample, _ in chosen]
        images = [file.get("images", 0, sample) for sample, _ in chosen]
        labels = ", ".join(dict.fromkeys(str(file.info.labels[sample]) for sample, _ in chosen))
        most = max(float(part.max()) for part in maps)
        scores = f"{chosen[0][1]:+.2f} to {chosen[-1][1]:+.2f}"
        made.rows.append(Row(f"{kind}\n{scores}", [canvas.plain(image) for image in images], labels[:30]))
        cells = [_cell(file, image, part, most, wanted, head[0]) for image, part in zip(images, maps, strict=True)]
        made.rows.append(Row("", cells, of.most(maps)))
    made.foot = f"Logits that the head writes for the true class, centred over classes. {of.looker(file, wanted)}"
    return canvas.draw(made)


def beside(files: Sequence[MapFile], wanted: Wanted) -> Figure:
    """Several models on the same images: of each its last layer's mean over heads, or the layer or heads named."""
    first = files[0]
    for file in files[1:]:
        if file.info.samples != first.info.samples or file.info.conditions != first.info.conditions:
            raise InputError(f"{file.where}: is of other images or shifts than {first.where}. Make both with the same.")
    made = Sheet("what models look at", of.columns(first), bar="row's most")
    for condition in range(len(first.info.conditions)):
        made.rows.append(_images(first, condition))
        for file in files:
            made.rows += _of_file(file, condition, wanted)
    made.foot = f"{of.looker(first, wanted)} Without --head: the last layer's mean over heads."
    return canvas.draw(made)


def _of_file(file: MapFile, condition: int, wanted: Wanted) -> Iterator[Row]:
    name = style.short(file.info.model)[:22]
    if wanted.heads:
        for head in wanted.heads:
            maps = list(of.maps(file, condition, head, wanted))
            yield _row(file, condition, maps, wanted, head[0], f"{name}\n{head_name(*head)}")
        return
    layer = next((x for x in of.stored(file) if x.layer == wanted.layer), of.stored(file)[-1])
    yield _of_layer(file, condition, layer, wanted, f"{name}\nlayer {layer.layer}")


def _of_head(file: MapFile, head: of.Place, wanted: Wanted, conditions: Sequence[int]) -> Iterator[Row]:
    """A row for each condition, on one scale."""
    maps = [list(of.maps(file, condition, head, wanted)) for condition in conditions]
    top = max(float(part.max()) for parts in maps for part in parts)
    for index, (condition, parts) in enumerate(zip(conditions, maps, strict=True)):
        label = head_name(*head) if not index else f"{of.condition(file, condition)}"
        yield _row(file, condition, parts, wanted, head[0], label, top)


def _of_layer(file: MapFile, condition: int, layer: MapLayer, wanted: Wanted, label: str) -> Row:
    heads = [list(of.maps(file, condition, place, wanted)) for place in layer.places]
    return _row(file, condition, list(np.mean(heads, axis=0)), wanted, layer.layer, label)


def _images(file: MapFile, condition: int, right: str = "") -> Row:
    return Row(of.condition(file, condition), [canvas.plain(image) for image in of.images(file, condition)], right)


def _row(
    file: MapFile, condition: int, maps: list[np.ndarray], wanted: Wanted, layer: int, label: str,
    top: float | None = None,
) -> Row:  # fmt: skip
    most = max(float(part.max()) for part in maps) if top is None else top
    images = of.images(file, condition)
    cells = [_cell(file, image, part, most, wanted, layer) for image, part in zip(images, maps, strict=True)]
    return Row(label, cells, of.most(maps))


def _cell(file: MapFile, image: np.ndarray, part: np.ndarray, top: float, wanted: Wanted, layer: int) -> np.ndarray:
    cell = canvas.overlaid(image, part, top)
    grid = of.layer_of(file, layer).grid
    return cell if wanted.query is None or grid is None else canvas.framed(cell, *wanted.query, grid)


FEET = {
    "rollout": "Attention rollout (Abnar & Zuidema 2020): heads averaged, residual included, all layers.",
    "relevance": "Gradient-weighted relevance (Chefer et al. 2021) of the target's logit, all layers.",
}
KINDS: dict[str, Callable[[Sequence[MapFile], Wanted], Figure]] = {
    "sheet": sheet, "conditions": conditions, "layers": layers, "rollout": through("rollout"),
    "relevance": through("relevance"), "aligned": aligned, "activity": activity, "top": top, "beside": beside,
}  # fmt: skip
"""The first is what one file becomes by default; several files are drawn beside each other."""


def draw(files: Sequence[MapFile], kind: str | None, wanted: Wanted) -> Figure:
    """The figure of maps files. Raises UsageError listing the kinds there are."""
    kind = kind or ("beside" if len(files) > 1 else "sheet")
    if kind not in KINDS:
        raise UsageError(f"--kind {kind}: maps are drawn as {choices(KINDS)}.")
    if len(files) > 1 and kind != "beside":
        raise UsageError(f"--kind {kind}: draws one maps file; {len(files)} were named. Name one, or --kind beside.")
    with style.house_style():
        return KINDS[kind](files, wanted)
