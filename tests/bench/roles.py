"""What it costs to tell what heads carry, beside a plain ablation of the same heads; alternating in one process.

`python -m tests.bench.roles [--device cuda]`. Fills by other maps: a pass each, and the three of `--summary routing` in
one; probes: features, fits and baselines of all heads; matching: with a second model. Then the summaries that need no
network, in seconds, of a table of 24 heads under 76 conditions.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
import torch

from tests.bench.looking import batch_of
from tests.bench.sweep import model_of
from tests.bench.timing import alternate, machine, say
from vhs.measures.ablation import HeadAblation
from vhs.measures.ablation_options import parse
from vhs.measures.fills import Bank
from vhs.measures.matching import Matching
from vhs.measures.probe_tally import Probing
from vhs.measures.scoring import Scope
from vhs.measures.steadiness import settle
from vhs.models.model import Model
from vhs.runs import runtime
from vhs.seeds import FOLDS

IMAGES = {"demo (6 x 4)": 512, "12 x 3, 224 px": 16}
ROUNDS = {"demo (6 x 4)": 3, "12 x 3, 224 px": 1}
CORRUPTIONS = 15


def main() -> None:
    device = runtime.prepare("cuda" if "cuda" in sys.argv else "cpu", None, "float32")
    say(machine())
    for name in IMAGES:
        compare(name, device)
    if device.type == "cpu":  # a machine with a GPU may lack polars
        summaries()


def compare(name: str, device: torch.device) -> None:
    """A line a way: how many times a plain ablation of the same heads on the same images it takes."""
    model = replace(model_of(name, device, "float32"), classes=tuple("abcdefghij"))
    batch = batch_of(model, IMAGES[name])
    batch = replace(batch, keys_B=batch.keys_B * 7919)
    settle(model, batch.images_BCHW[:16], 1)
    tile, stack = runtime.fit([model], len(batch.keys_B), None)
    del tile
    sync = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    scope = Scope.whole(10, device)
    bank = Bank(model, [batch.images_BCHW[:16]], maps=True)
    plain = HeadAblation(model, scope, stack)
    ways = {
        kind: HeadAblation(model, scope, stack, parse(fill=kind), bank=bank)
        for kind in ("mean-flat", "uniform", "mean-map", "donor-map", "mean-flat,mean-map,donor-map")
    } | {"matching": Matching(model, model)}
    for what, measure in ways.items():
        report(
            name,
            what,
            *alternate(lambda m=measure: m.add(batch), lambda: plain.add(batch), rounds=ROUNDS[name], sync=sync),
        )
    if len(batch.keys_B) > 100:
        report(name, "probes", *alternate(lambda: probe(model, batch), lambda: plain.add(batch), rounds=2, sync=sync))


def report(name: str, what: str, ours: float, other: float, ratio: float) -> None:
    say(f"{name:<15} {what:<30} {ours * 1e3:8.0f} ms  plain ablation {other * 1e3:8.0f} ms  {1 / ratio:6.2f} x")


def probe(model: Model, batch) -> None:  # type: ignore[no-untyped-def]
    """Two attributes of ten and five values, and every baseline."""
    groups = torch.stack([batch.labels_B, batch.keys_B % 5 + 10])
    names = (*(f"robust={value}" for value in "abcdefghij"), *(f"other={value}" for value in range(5)))
    measure = Probing(model, replace(Scope.whole(10, model.device), groups=names), 0)
    measure.add(replace(batch, groups_AB=groups))
    measure.results()


def summaries() -> None:
    """Seconds of each summary of one table."""
    import polars as pl

    from vhs.roles import routing, shifts

    rng = np.random.default_rng(0)
    folds = pl.concat([folds_of(rng, fill) for fill in ("mean-flat", "mean-map", "donor-map")])
    for what, make in (
        ("routing", lambda: routing.routes(folds, (), 0.01)),
        ("shifts", lambda: shifts.shifts(folds.filter(pl.col("fill") == "mean-flat"), ())),
    ):
        begun = time.perf_counter()
        make()
        say(f"--summary {what:<10} of 24 heads under 76 conditions: {time.perf_counter() - begun:.1f} s")


def folds_of(rng: np.random.Generator, fill: str):  # type: ignore[no-untyped-def]
    from vhs.formats import schemas
    from vhs.formats.tables import frame

    conditions = [("clean", None, 0)] + [("imagenet-c", f"c{c}", s) for c in range(CORRUPTIONS) for s in range(1, 6)]
    rows = []
    for shift, corruption, severity in conditions:
        lost = rng.poisson(1.5, (24, FOLDS))
        gained = rng.poisson(1.0, (24, FOLDS))
        for head in range(24):
            for fold in range(FOLDS):
                rows.append({
                    "model": "m", "model_id": "i", "data": "d", "shift": shift, "corruption": corruption,
                    "category": None, "severity": severity, "origin": "generated", "group": "all", "label_set": "all",
                    "unit": "head", "module": "attn", "layer": head // 4, "head": head % 4, "fill": fill,
                    "method": "exact", "rescale": "none", "precision": "float32", "target": "class", "fold": fold,
                    "n": 100, "n_correct_intact": 80, "n_correct": int(80 - lost[head, fold] + gained[head, fold]),
                    "n_lost": int(lost[head, fold]), "n_gained": int(gained[head, fold]), "n_near_tie": 0,
                    "loss_intact_sum": 0, "dloss_sum": int(rng.normal() * 1e7), "dloss_sq_sum": 10**9,
                })  # fmt: skip
    return frame(schemas.FOLDS, rows)


if __name__ == "__main__":
    main()
