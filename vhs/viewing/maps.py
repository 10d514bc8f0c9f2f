"""The maps run: what heads look at in chosen images, for figures, under each condition.

Letters: S images, H heads, N tokens, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vhs import environment
from vhs.batch import Batch
from vhs.environment import memory_bytes
from vhs.errors import MismatchError, UsageError, check_range
from vhs.formats.map_file import MapInfo, MapLayer, name_of
from vhs.formats.places import Place
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.measures.observation import Observer
from vhs.measures.regions import MOST_LEVELS
from vhs.measures.scoring import Scope, View
from vhs.measures.top_images import TopImages
from vhs.models.model import Model
from vhs.models.tokens import CLASS
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import conditions, runtime
from vhs.runs.conditions import CLEAN_OWN, Condition
from vhs.runs.opening import Options, open_named
from vhs.runs.run import Run
from vhs.viewing.looks import Looks, outputs_of
from vhs.viewing.shown import Shown, of_pictures, of_samples

SHOWN = 6
"""Images when none is named."""
TOGETHER = 4
"""Images that a model looks at at once."""
MEMORY_SHARE = 0.4


@dataclass(frozen=True, kw_only=True)
class Asked:
    """samples: ids in the data; images: pictures instead; whole: maps of every query, not one row; activity: levels of
    activity to draw, 0 for none; top: how many images that drive each head most, and least, 0 for none."""

    samples: Sequence[str] = ()
    images: Sequence[Path] = ()
    whole: bool = False
    activity: int = 0
    top: int = 0

    def __post_init__(self) -> None:
        check_range("activity", self.activity or None, 2, MOST_LEVELS)
        for given, name in ((self.samples, "--sample"), (self.top, "--top-images")):
            if self.images and given:
                raise UsageError(f"--image and {name}: one names pictures, the other is of the data. Drop one of them.")
        if self.top and self.samples:
            raise UsageError("--top-images and --sample: both choose the images. Drop one of them.")


@dataclass(frozen=True)
class Maps:
    """A description and its tensors, as a maps file holds them."""

    info: MapInfo
    tensors: dict[str, np.ndarray]


def collect(
    reference: str | Loaded, data: Place | ShardSet | None, options: Options, asked: Asked, *,
    progress: Progress = silent, note: Note = unheard,
) -> Maps:  # fmt: skip
    """The maps that were asked for, of one model."""
    if asked.images:
        wanted = conditions.parse(options.shift)
        loaded = _load(reference, options)
        model, regression = loaded.model, loaded.info is not None and loaded.info.task == "regression"
        collector = _Collector(model, wanted, options.seed, asked, note, regression=regression)
        return collector.collect(of_pictures(asked.images, model, wanted), progress=progress)
    few = options.max_samples if asked.top or options.max_samples is not None else SHOWN
    run = open_named([reference], data, replace(options, max_samples=few), note=note)
    if any(condition.shift == CLEAN_OWN for condition in run.conditions):
        raise UsageError("--maps: --shift clean_own has another geometry. Name pictures with --image instead.")
    model = run.models[0]
    regression = bool(run.data.manifest.targets)
    collector = _Collector(model, run.conditions, run.seed, asked, note, regression=regression)
    top = _top(run, collector.looks.observer, asked.top, progress) if asked.top else {}
    ids = asked.samples or _named(top) or run.data.ids
    shown = of_samples(run.source, ids, skip_bad=run.skip_bad)
    view = None if regression else run.views(run.conditions[0])[0]
    return collector.collect(shown, {head: _places(of, shown.ids) for head, of in top.items()}, view, progress)


Ranked = dict[str, list[tuple[str, float]]]
"""`most` and `least`: sample ids with what a head writes."""


def _top(run: Run, observer: Observer, count: int, progress: Progress) -> dict[str, Ranked]:
    """By head the images that drive it most and least, on clean images. Raises UsageError for regression."""
    if run.data.manifest.targets:
        raise UsageError("--top-images: goes by what heads write for the true class; this data has targets.")
    measure = TopImages(run.models[0], Scope(run.views(run.conditions[0])), count, observer)
    done = 0
    for batch in run.data.tiles(run.tile, run.device):
        progress("images that drive heads", done, len(run.data))
        measure.add(batch)
        done += batch.size
    ids = dict(zip(run.data.positions_N.tolist(), run.data.ids, strict=True))
    named = zip(run.models[0].grid, measure.most, measure.least, strict=True)
    return {
        str(head): {
            "most": [(ids[place], score) for place, score in most],
            "least": [(ids[place], score) for place, score in least],
        }
        for head, most, least in named
    }


def _named(top: dict[str, Ranked]) -> list[str]:
    """Every image that is ranked, once."""
    return list(dict.fromkeys(name for of in top.values() for ranked in of.values() for name, _ in ranked))


def _places(ranked: Ranked, ids: Sequence[str]) -> dict[str, list[list[float]]]:
    place = {name: index for index, name in enumerate(ids)}
    return {kind: [[place[name], score] for name, score in pairs] for kind, pairs in ranked.items()}


def _load(reference: str | Loaded, options: Options) -> Loaded:
    from vhs.formats import references

    if isinstance(reference, Loaded):
        return reference
    device = runtime.prepare(options.device, options.threads, options.precision)
    return references.load(reference, device, options.precision)


class _Collector:
    """Puts the arrays of images and conditions under their names."""

    def __init__(
        self, model: Model, wanted: Sequence[Condition], seed: int, asked: Asked, note: Note, *, regression: bool
    ) -> None:
        self._regression = regression
        self.looks = Looks(model, whole=asked.whole, activity=asked.activity)
        self._model, self._wanted, self._seed, self._asked = model, wanted, seed, asked
        layouts = self.looks.observer.layouts
        if not self.looks.layers:
            kinds = ", ".join(dict.fromkeys(layout.kind for layout in layouts))
            raise MismatchError(
                f"{model.name}: its layers attend in {kinds}; maps are drawn where all tokens attend to all. "
                f"Without --maps they are measured."
            )
        left = [str(index) for index in range(len(layouts)) if index not in self.looks.layers]
        if left:
            note(f"layers {', '.join(left)} attend in windows, to pooled keys or to pool; their maps are not drawn")

    def collect(
        self, shown: Shown, top: dict[str, dict[str, list[list[float]]]] | None = None, view: View | None = None,
        progress: Progress = silent,
    ) -> Maps:  # fmt: skip
        """Of every image under every condition. view: which classes are answered, None where no labels are known."""
        self._check_size(len(shown.ids))
        classes = shown.source.manifest.classes if shown.source else ()
        tensors: dict[str, np.ndarray] = {}
        answers, targets = [], []
        for place, condition in enumerate(self._wanted):
            progress(condition.name, place, len(self._wanted))
            batch = shown.under(condition, self._seed, self._model.device)
            logits, goals = self._add(tensors, place, batch, outputs_of(classes, self._model), view)
            answers.append((None,) * batch.size if self._regression else self._words(logits.argmax(1)))
            asked = torch.where(goals < 0, logits.argmax(1), goals)
            named = shown.source.manifest.targets if shown.source else ()
            targets.append((named[0],) * batch.size if named else self._words(asked))
        progress("maps", len(self._wanted), len(self._wanted))
        labels = tuple(classes[label] if label >= 0 and classes else None for label in shown.labels_S.tolist())
        return Maps(self._info(shown, labels, tuple(answers), tuple(targets), top or {}), tensors)

    def _add(
        self, tensors: dict[str, np.ndarray], place: int, batch: Batch, outputs: Tensor, view: View | None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Put the tensors of one condition in; (logits [S, C], outputs that relevance is of [S], -1 for the answer).

        outputs: of the model for each of the data's classes; without classes its first output is what it is asked for.
        """
        known = torch.cat([outputs, outputs.new_full((1,), -1)])[batch.labels_B]
        goals = torch.zeros_like(batch.labels_B) if self._regression else known
        logits = []
        aligned: dict[int, Tensor] = {}
        for start in range(0, batch.size, TOGETHER):
            part = batch.part(slice(start, min(start + TOGETHER, batch.size)))
            looked = self.looks.of(part, goals[start : start + TOGETHER], view)
            logits.append(looked.logits.cpu())
            for (kind, layer), values in looked.arrays.items():
                for offset, value in enumerate(values):
                    tensors[name_of(kind, place, start + offset, *(() if layer is None else (layer,)))] = value
            for of, sums in looked.aligned.items():
                aligned[of] = aligned.get(of, torch.zeros_like(sums)) + sums
        for of, sums in aligned.items():
            tensors[name_of("aligned", place, of)] = (sums / batch.size).half().cpu().numpy()
        return torch.cat(logits), goals.cpu()

    def _words(self, outputs_S: Tensor) -> tuple[str | None, ...]:
        return tuple(self._model.classes[index] for index in outputs_S.tolist())

    def _info(
        self, shown: Shown, labels: tuple[str | None, ...], answers: tuple[tuple[str | None, ...], ...],
        targets: tuple[tuple[str | None, ...], ...], top: dict[str, dict[str, list[list[float]]]],
    ) -> MapInfo:  # fmt: skip
        model, grid, layouts = self._model, self._model.grid, self.looks.observer.layouts
        manifest = shown.source.manifest if shown.source else None
        layers = tuple(
            MapLayer(
                index, grid.module(index), grid.per_layer[index], layout.kind, layout.special, layout.grid,
                index in self.looks.layers, grid.kept[index] if grid.kept else (),
            )
            for index, layout in enumerate(layouts)
        )  # fmt: skip
        first = layouts[self.looks.layers[0]]
        data = f"{manifest.name}/{manifest.split}" if manifest else "pictures"
        return MapInfo(
            model=model.name, model_id=model.weights_id, data=data,
            data_hash=manifest.hash if manifest else None, seed=self._seed,
            conditions=tuple(condition.name for condition in self._wanted), samples=shown.ids, labels=labels,
            answers=answers, targets=targets, layers=layers, looker=CLASS if CLASS in first.special else "patches",
            whole=self._asked.whole, activity=self._asked.activity, top=top, versions=environment.versions(),
        )  # fmt: skip

    def _check_size(self, images: int) -> None:
        """Raises UsageError where the maps would not fit the memory."""
        layouts, heads = self.looks.observer.layouts, self._model.grid.per_layer
        rows = {index: layouts[index].queries if self._asked.whole else 2 for index in self.looks.layers}
        weights = sum(heads[index] * rows[index] * layouts[index].keys for index in rows)
        size = self._model.preprocess
        needed = images * len(self._wanted) * (2 * weights + 3 * size.height * size.width)
        if needed > memory_bytes() * MEMORY_SHARE:
            raise UsageError(
                f"--maps: {images} images under {len(self._wanted)} conditions take {needed / 2**30:.1f} GiB. Name "
                f"fewer images or shifts{', or leave out --full' if self._asked.whole else ''}."
            )
