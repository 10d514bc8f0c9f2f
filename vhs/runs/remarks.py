"""What a reader of a run's numbers should be told at its start."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vhs.grid import HEADS
from vhs.measures.steadiness import settle, use_fused
from vhs.runs import cache, ranks
from vhs.shifts.textures import PROCEDURAL
from vhs.world import is_first

if TYPE_CHECKING:
    from torch import Tensor

    from vhs.runs.run import Run


def unsteady(run: Run) -> list[str]:
    """Settle every model on kernels that keep a sample's bits; name those for which there are none."""
    tile = _first_tile(run)
    notes = []
    for model in run.models:
        chosen = ranks.from_first(settle(model, tile, run.stack) if tile is not None else None)
        use_fused(model, chosen.fused)
        if not chosen.steady:
            notes.append(
                f"{model.name}: its logits change in their last bits with a sample's place in the tile; see n_near_tie"
            )
    return notes


def _first_tile(run: Run) -> Tensor | None:
    """uint8: the images of the first tile of all, also in a part, which else might settle on other kernels than the
    whole run; None on a process that has none and need not have it."""
    if run.part.count == 1:
        first = next(run.data.tiles(run.tile, run.device), None)
        return None if first is None else first.images_BCHW
    if not is_first():
        return None
    chosen = cache.choose(run.source, run.max_samples, run.seed)
    source = run.source if run.source.digests else replace(run.source, verify=False)  # tars were hashed with the rest
    for take in range(run.tile, len(chosen) + run.tile, run.tile):
        decoded = cache.decode(source, chosen[:take], skip_bad=run.skip_bad)
        if len(decoded) >= run.tile:
            break
    return next(decoded.tiles(run.tile, run.device)).images_BCHW


def costs(run: Run) -> list[str]:
    """What pairs cost, said before they start."""
    notes = []
    for model in run.models if run.ablation.units.kind == "pair" else ():
        units, heads = (len(list(model.grid.units(kind))) - 1 for kind in (run.ablation.units, HEADS))
        notes.append(
            f"{model.name}: {units - heads} pairs within layers beside {heads} heads, {units / heads:.1f} times the "
            f"passes of the heads alone"
        )
    return notes


def shares(run: Run) -> list[str]:
    """That there are fewer tiles than parts, so that some of these have nothing to do."""
    if run.part.count <= run.tiles:
        return []
    return [
        f"{run.data.total:,} samples are {run.tiles} {'tile' if run.tiles == 1 else 'tiles'} of {run.tile}, shared by "
        f"{run.part.count} parts; name a smaller --tile to spread them"
    ]


def geometry(run: Run) -> list[str]:
    """What happens to the images before and under the shifts."""
    notes = []
    side = tuple(run.data.images_NCHW.shape[-2:])
    sizes = {(model.preprocess.height, model.preprocess.width) for model in run.models}
    for size in sorted(sizes - {side}):
        notes.append(f"images are {side[0]}x{side[1]} px and are resized to the model's {size[0]}x{size[1]}")
    if any(condition.origin == PROCEDURAL for condition in run.conditions):
        notes.append(
            "frost is made of procedural textures; name the folder of the photographs in $VHS_FROST "
            "or install vhs-heads[frost]"
        )
    if any(condition.corruption and condition.data is None for condition in run.conditions):
        notes += _strengths(run, side)
    return notes


def _strengths(run: Run, side: tuple[int, ...]) -> list[str]:
    """For which size the corruptions' strengths were published, where it is not the images'."""
    from vhs.shifts.kinds import ANY_SIZE, CORRUPTIONS

    made = dict.fromkeys(condition.corruption for condition in run.conditions if condition.made)
    published = {name: CORRUPTIONS[name].side(*side) for name in made if name is not None}
    others = [size for size in dict.fromkeys(published.values()) if size not in (ANY_SIZE, min(side))]
    notes = []
    for size in others:
        names = ", ".join(name for name, of in published.items() if of == size)
        which = f" ({names})" if len(set(published.values())) > 1 else ""
        notes.append(f"corruption strengths for {min(side)} px images are those published for {size} px{which}")
    return notes
