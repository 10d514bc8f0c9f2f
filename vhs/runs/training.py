"""The training run: data in, a checkpoint out; what is saved when, and how a run is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch

from vhs.errors import InputError, MismatchError, UsageError, VhsError
from vhs.formats import checkpoints, resume, schemas
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.shards import ShardSet
from vhs.formats.tables import frame
from vhs.measures.evaluation import Evaluation
from vhs.measures.scoring import Scope
from vhs.models.model import Model, Preprocess
from vhs.models.spec import ViTSpec
from vhs.progress import Progress, silent
from vhs.runs import cache, runtime
from vhs.runs.data import record
from vhs.training import loop, schedule
from vhs.training.recipe import Recipe

TIMED = 20
"""Updates timed before a budget may shorten the schedule."""
EVALUATION_TILE = 256


@dataclass(kw_only=True)
class Training:
    """One training run. stop: asked after every update; a true answer saves the state and ends the run."""

    out: Path
    train: ShardSet
    val: ShardSet
    recipe: Recipe
    device: torch.device
    minutes: float | None = None
    snapshots: frozenset[int] = frozenset()
    skip_bad: bool = False
    stop: Callable[[], bool] = lambda: False
    progress: Progress = silent
    notes: list[str] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    elapsed_before: float = 0.0

    def __post_init__(self) -> None:
        manifest = self.train.manifest
        if manifest.classes != self.val.manifest.classes:
            raise MismatchError(f"{self.val.folder}: its classes are not those of {self.train.folder}.")
        self._data = self._decode(self.train)
        self._val = self._decode(self.val)
        channels, height, width = self._data.images_NCHW.shape[1:]
        self.spec: ViTSpec = self.recipe.spec(
            channels=channels, height=height, width=width, classes=len(manifest.classes)
        )
        self._preprocess = Preprocess(
            height=height, width=width, channels=channels, mean=manifest.mean, std=manifest.std
        )

    def run(self, *, resuming: bool) -> bool:
        """Train to the end and write the checkpoint; False when `stop` ended it with its state saved."""
        state = loop.start(self.recipe, self.spec, len(self._data), self.device)
        if resuming and resume.path_of(self.out).exists():
            self._restore(state)
        begun, first = time.monotonic(), state.step
        for rate in loop.updates(state, self.recipe, self._samples(), self._preprocess):
            self._keep_to_budget(state, first, time.monotonic() - begun)
            at_epoch_end = state.step % state.per_epoch == 0 or state.step >= state.total
            if at_epoch_end:
                self._finish_epoch(state, rate)
            if state.step in self.snapshots:
                checkpoints.save(self._snapshot_path(state.step), state.saved_net().state_dict(), self._info(state))
            stopping = state.step < state.total and self.stop()
            if stopping or (at_epoch_end and state.step < state.total):
                self._save_state(state, time.monotonic() - begun)
            if stopping:
                return False
        if state.total < state.planned and self.minutes is not None:
            cut = f"{state.planned} planned updates to {state.total}"
            self.notes.append(f"the budget of {self.minutes:g} minutes cut {cut}")
        checkpoints.save(self.out, state.saved_net().state_dict(), self._info(state))
        resume.path_of(self.out).unlink(missing_ok=True)
        return True

    def table(self) -> pl.DataFrame:
        """The training log so far."""
        return frame(schemas.TRAIN, self.log)

    def _decode(self, data: ShardSet) -> cache.Decoded:
        return cache.decode(data, cache.chosen(data), skip_bad=self.skip_bad, progress=self.progress)

    def _samples(self) -> loop.Samples:
        data = self._data
        return loop.Samples(*(part.to(self.device) for part in (data.images_NCHW, data.labels_N, data.keys_N)))

    def _keep_to_budget(self, state: loop.TrainingState, first: int, seconds: float) -> None:
        """Lay the schedule out anew when the time left does not hold the updates planned."""
        timed = state.step - first
        if self.minutes is not None and timed >= TIMED:
            budget = self.minutes * 60 - self.elapsed_before
            state.total = max(min(state.planned, schedule.affordable(state.step, seconds, timed, budget)), state.step)

    def _finish_epoch(self, state: loop.TrainingState, rate: float) -> None:
        mean_loss = float(state.loss_sum) / state.steps_in_epoch()
        if not mean_loss < float("inf"):
            raise VhsError(
                f"the loss is not finite in epoch {len(self.log) + 1} (updates up to {state.step}). "
                f"Start anew with a lower --lr, or with --set clip=1.0."
            )
        tallies = self._evaluate(state)
        n, right = (int(tallies.total(name)) for name in ("n", "n_correct"))
        self.log.append({
            "epoch": -(-state.step // state.per_epoch), "step": state.step, "steps_planned": state.total, "lr": rate,
            "train_loss": mean_loss, "n": n, "n_correct": right, "top1": right / n,
            "loss": float(tallies.total_float("loss")) / n,
        })  # fmt: skip
        self.progress(f"epoch {self.log[-1]['epoch']}: {right / n:.1%} right", state.step, state.total)

    def _evaluate(self, state: loop.TrainingState) -> Any:
        model = Model(
            net=loop.frozen_copy(state.saved_net()), preprocess=self._preprocess, name="training", weights_id="",
            classes=self.train.manifest.classes,
        )  # fmt: skip
        evaluation = Evaluation(model, Scope.whole(len(model.classes), self.device))
        for batch in self._val.tiles(EVALUATION_TILE, self.device):
            evaluation.add(batch)
        return evaluation.results()["view0"]

    def _info(self, state: loop.TrainingState) -> CheckpointInfo:
        return CheckpointInfo(
            spec=self.spec, classes=self.train.manifest.classes, mean=self._preprocess.mean, std=self._preprocess.std,
            timm=checkpoints.timm_arguments(self.spec),
            data={"train": record(self.train, self.out), "val": record(self.val, self.out)},
            recipe=asdict(self.recipe) | {"updates": state.total}, weights="ema" if state.average else "raw",
            step=state.step, seed=self.recipe.seed, versions=runtime.versions(),
        )  # fmt: skip

    def _snapshot_path(self, step: int) -> Path:
        return self.out.with_suffix(".snapshots") / f"step-{step:06d}.safetensors"

    def _fingerprint(self) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        data = {split.manifest.split: split.manifest.hash for split in (self.train, self.val)}
        return {"recipe": asdict(self.recipe), "data": data, "device": self.device.type}

    def _save_state(self, state: loop.TrainingState, seconds: float) -> None:
        tensors = {f"net.{name}": value for name, value in state.net.state_dict().items()}
        if state.average is not None:
            tensors |= {f"average.{name}": value for name, value in state.average.module.state_dict().items()}
        for index, slots in state.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in slots.items()}
        tensors["loss_sum"] = state.loss_sum
        described = self._fingerprint() | {
            "step": state.step, "total": state.total, "log": self.log, "elapsed": self.elapsed_before + seconds,
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        resume.save(resume.path_of(self.out), tensors, described)

    def _restore(self, state: loop.TrainingState) -> None:
        path = resume.path_of(self.out)
        tensors, described = resume.load(path, self._fingerprint())
        try:
            self._fill(state, tensors, described)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: does not hold the whole state: {error}. Remove it to start anew.") from error

    def _fill(self, state: loop.TrainingState, tensors: dict[str, torch.Tensor], described: dict[str, Any]) -> None:
        state.net.load_state_dict(_under(tensors, "net."), strict=True)
        if state.average is not None:
            state.average.module.load_state_dict(_under(tensors, "average."), strict=True)
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under(tensors, "optimizer.").items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        state.step, state.total = described["step"], described["total"]
        state.loss_sum = tensors["loss_sum"].to(self.device)
        self.log, self.elapsed_before = described["log"], described["elapsed"]
        if described["threads"] != torch.get_num_threads():
            self.notes.append(f"begun with {described['threads']} threads: the last bits will differ")
        self.notes.append(f"continuing after update {state.step} of {state.total}")


def already_trained(out: Path, recipe: Recipe, train: ShardSet) -> bool:
    """Whether `out` is the finished result of this recipe on this data, so that resuming has nothing to do."""
    if not out.exists() or resume.path_of(out).exists():
        return False
    info = checkpoints.read_info(out)
    same_recipe = {key: info.recipe.get(key) for key in asdict(recipe)} == asdict(recipe)
    return same_recipe and info.data.get("train", {}).get("hash") == train.manifest.hash


def parse_snapshots(text: str | None, total: int) -> frozenset[int]:
    """Update numbers from `100,200,400`, or powers of two for `log`."""
    if text is None:
        return frozenset()
    if text == "log":
        return frozenset(2**power for power in range(total.bit_length()) if 2**power <= total)
    try:
        return frozenset(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--snapshots {text}: expected update numbers such as 100,200, or log.") from None


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
