"""The training run: data in, a checkpoint out; what is saved when, and how a run is resumed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import torch

from vhs import environment
from vhs.errors import UsageError, VhsError
from vhs.fitting import likeness, saved_state, start, streaming, teaching, validation, windows
from vhs.fitting.start import Size
from vhs.fitting.tracking import Tracker
from vhs.formats import checkpoints, resume, schemas
from vhs.formats.atomic import write_together, write_whole
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.references import Loaded
from vhs.formats.shards import ShardSet
from vhs.formats.tables import format_of, frame, render
from vhs.formats.verification import Verification
from vhs.models.building import spec_of_fewer
from vhs.models.spec import Spec
from vhs.progress import Note, Progress, silent, unheard
from vhs.runs import cache, ranks
from vhs.runs.data import record
from vhs.training import feed, loop, schedule
from vhs.training.assignment import Assignment
from vhs.training.gates import open_heads
from vhs.training.objective import Objective
from vhs.training.recipe import Recipe
from vhs.world import is_first, world

TIMED = 20
"""Updates timed before a budget may shorten the schedule."""
KEPT = 600.0
"""Seconds after which the state is saved in the middle of an epoch, too."""
CHECKED = 50
"""Updates after which a GPU is asked whether all losses were finite; a CPU is asked after each."""


@dataclass(kw_only=True)
class Training:
    """One training run. stop: asked after every update; a true answer saves the state and ends the run.

    begin: the model whose weights it starts with; teacher: on the device; workers: processes that read images where the
    recipe augments them one by one; tracker: where the log goes too; log_file: where it is written; epoch_done: told
    each epoch's scores.
    """

    out: Path
    train: ShardSet
    val: ShardSet
    recipe: Recipe
    device: torch.device
    begin: str | None = None
    teacher: Loaded | None = None
    minutes: float | None = None
    snapshots: frozenset[int] = frozenset()
    skip_bad: bool = False
    compiled: bool = False
    workers: int = 0
    stop: Callable[[], bool] = lambda: False
    progress: Progress = silent
    tracker: Tracker | None = None
    log_file: Path | None = None
    epoch_done: Note = unheard
    notes: list[str] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    elapsed_before: float = 0.0
    _reading: Verification | None = None

    def __post_init__(self) -> None:
        if self.begin:
            self.notes += start.notes_on_sizes(self.recipe, self.begin)
        self._begin = start.beginning(self.recipe, self.begin, self.train, self.val)
        self._preprocess = start.preprocess_of(self._begin, self.train)
        self._objective = self._learn()  # before all images are read: it may be refused
        self._feed = self._source(start.size_of(self.train))
        self._val = cache.decode(
            self.val, cache.choose(self.val), tile=validation.TILE, skip_bad=self.skip_bad, progress=self.progress
        )
        self._saved_step, self._saved_at = 0, 0.0

    def run(self, *, resuming: bool) -> bool:
        """Train to the end and write the checkpoint; False when `stop` ended it with its state saved."""
        samples = len(self._feed.samples.keys_N)
        state = loop.start(
            self.recipe, self._begin.spec, samples, self.device, initial=self._begin.weights, compiled=self.compiled,
            objective=self._objective,
        )  # fmt: skip
        if resuming and resume.path_of(self.out).exists():
            self._restore(state)
        begun, first = time.monotonic(), state.step
        for rate in loop.updates(state, self.recipe, self._feed, self._preprocess, self._objective):
            seconds = time.monotonic() - begun
            self._keep_to_budget(state, first, seconds)
            finished = state.step >= state.total
            at_epoch_end = state.step % state.per_epoch == 0 or finished
            stopping = not finished and ranks.any_of(self.stop())
            saving = not finished and (at_epoch_end or stopping or seconds - self._saved_at >= KEPT)
            keeping = at_epoch_end or saving or state.step in self.snapshots
            self._check_finite(state, now=keeping)
            if keeping and self._reading is not None:
                self._reading.join()
            if at_epoch_end:
                self._finish_epoch(state, rate)
            if state.step in self.snapshots:
                self._save_snapshot(state)
            if saving:
                self._save_state(state, time.monotonic() - begun)
            if stopping:
                return False
        self._finish(state)
        return True

    def table(self) -> pl.DataFrame:
        """The training log so far."""
        regression = self.train.manifest.regression
        rows = [{"model": str(self.out)} | row for row in self.log]
        return frame(schemas.TRAIN_REGRESSION if regression else schemas.TRAIN, rows)

    def _learn(self) -> Objective:
        """What is minimised; notes on what was asked for in vain, and on a teacher's parts that the student lacks."""
        self.notes += likeness.notes(self.recipe, self._begin.spec, self.teacher)
        return teaching.objective(teaching.Lesson(
            recipe=self.recipe, spec=self._begin.spec, outputs=self.train.manifest.outputs,
            preprocess=self._preprocess, device=self.device, calibration=self._calibration,
            regression=self.train.manifest.regression, teacher=self.teacher, compiled=self.compiled,
        ))  # fmt: skip

    def _calibration(self) -> torch.Tensor:
        """Training images as they are, always the same."""
        chosen = cache.choose(self.train, teaching.CALIBRATION, self.recipe.seed)
        return cache.decode(self.train, chosen, skip_bad=self.skip_bad).images_NCHW.to(self.device)

    @property
    def _assignment(self) -> Assignment | None:
        taught = self._objective.distillation
        return taught.assignment if taught else None

    def _source(self, size: Size) -> feed.Feed:
        """Images in memory on the device, or read one by one where the recipe augments them so."""
        if not self.recipe.streams:
            data = cache.decode(self.train, cache.choose(self.train), skip_bad=self.skip_bad, progress=self.progress)
            if data.skipped:
                self.notes.append(f"{len(data.skipped)} bad samples skipped; the first: {data.skipped[0]}")
            answers = data.targets_NT if self.train.manifest.regression else data.labels_N
            tars_N = windows.tars_of(self.train, data.positions_N, self.recipe)
            samples = feed.Samples(answers.to(self.device), data.keys_N.to(self.device), tars_N)
            return feed.Resident(self.recipe, samples, data.images_NCHW.to(self.device))
        if self.skip_bad:
            raise UsageError("--skip-bad: images are read while training here. Leave bad ones out with `vhs shard`.")
        made, self._reading = streaming.streamed(self.train, self.recipe, size, self.device, self.workers)
        return made

    def _keep_to_budget(self, state: loop.TrainingState, first: int, seconds: float) -> None:
        """Lay the schedule out anew when the time left does not hold the updates planned."""
        timed = state.step - first
        if self.minutes is not None and timed >= TIMED:
            budget = self.minutes * 60 - self.elapsed_before
            fits = ranks.from_first(schedule.affordable(state.step, seconds, timed, budget))
            state.total = max(min(state.planned, fits), state.step)

    def _check_finite(self, state: loop.TrainingState, *, now: bool) -> None:
        if not now and self.device.type != "cpu" and state.step % CHECKED:
            return
        step = state.first_bad_step()
        if step is not None:
            kept = f"The state after update {self._saved_step} is kept" if self._saved_step else "Start anew"
            raise VhsError(
                f"the loss of update {step} (epoch {(step - 1) // state.per_epoch + 1}) is not finite. {kept}; try a "
                f"lower --lr, or --set clip=1.0."
            )

    def _finish_epoch(self, state: loop.TrainingState, rate: float) -> None:
        scores = list(validation.rows(state.weights(self.recipe.saved), self._preprocess, self._val, self.device))
        epoch = -(-state.step // state.per_epoch)
        shared = {
            "epoch": epoch, "step": state.step, "steps_planned": state.total, "lr": rate,
            "train_loss": float(state.loss_sum) / state.steps_in_epoch(),
        } | self._terms(state)  # fmt: skip
        self.log += [shared | row for row in scores]
        if self.tracker:
            self.tracker.log(
                shared | {_tracker_name(name, row): value for row in scores for name, value in row.items()}
            )
        self.epoch_done(f"epoch {epoch} of {self.recipe.epochs}: {validation.in_words(scores)}")
        self.progress(f"epoch {epoch}", state.step, state.total)

    def _terms(self, state: loop.TrainingState) -> dict[str, float]:
        """The columns of the log that say what each term was."""
        found = state.terms(self._objective)
        ratio = found.pop("ratio", None)
        columns = {f"loss_{name}": value for name, value in found.items() if name != "gates"}
        if state.gates is not None:
            columns["heads_left"] = sum(map(len, open_heads(state.net)))
            columns |= {"heads_expected": found["gates"]} if "gates" in found else {}
        if self._objective.diversity is not None:
            columns["head_overlap"] = self._objective.diversity.times_chance(found["diversity"])
        return columns if ratio is None else columns | {"gradient_ratio": ratio}

    def _finish(self, state: loop.TrainingState) -> None:
        if state.total < state.planned and self.minutes is not None:
            cut = f"{state.planned} planned updates to {state.total}"
            self.notes.append(f"the budget of {self.minutes:g} min cut {cut}")
        if self._assignment is not None:
            self.notes.append(f"heads of the student and the teacher: {self._assignment.in_words()}")
        if is_first():
            write_together(
                [*self._log(), (self.out, self._bytes(state, self.out))]
            )  # a checkpoint that is there has its log beside it
            resume.path_of(self.out).unlink(missing_ok=True)

    def write_log(self) -> None:
        """Write the log so far, whole or not at all."""
        if is_first():
            write_together(self._log())

    def _log(self) -> list[tuple[Path, bytes]]:
        """The file of the log and its bytes, where there are any."""
        if self.log_file is None or not self.log:
            return []
        return [(self.log_file, render(self.table(), format_of(self.log_file, None)))]

    def _bytes(self, state: loop.TrainingState, path: Path) -> bytes:
        """Of a checkpoint of the run as it is now."""
        net = state.weights(self.recipe.saved)
        return checkpoints.to_bytes(net.state_dict(), self._info(state, path, spec_of_fewer(self._begin.spec, net)))

    def _info(self, state: loop.TrainingState, path: Path, spec: Spec) -> CheckpointInfo:
        manifest = self.train.manifest
        return CheckpointInfo(
            spec=spec, classes=manifest.outputs, mean=self._preprocess.mean,
            std=self._preprocess.std, task=manifest.task, timm=checkpoints.timm_arguments(spec),
            data={"train": record(self.train, path), "val": record(self.val, path)},
            recipe=self.recipe.recorded() | {"updates": state.total}, parent=self._begin.parent,
            teacher=self._taught_by, assigned=self._assignment.in_words() if self._assignment else None,
            weights="ema" if state.average and self.recipe.saved == "ema" else "raw",
            step=state.step, seed=self.recipe.seed, versions=environment.versions(),
        )  # fmt: skip

    def _save_snapshot(self, state: loop.TrainingState) -> None:
        if is_first():
            path = self.out.with_suffix(".snapshots") / f"step-{state.step:06d}.safetensors"
            write_whole(path, self._bytes(state, path))

    @property
    def _taught_by(self) -> str | None:
        model = self.teacher.model if self.teacher else None
        return f"{model.name} {model.weights_id}" if model else None

    def _fingerprint(self) -> dict[str, Any]:
        """What must be equal for a run to be continued."""
        data = {split.manifest.split: split.manifest.hash for split in (self.train, self.val)}
        return {"recipe": self.recipe.recorded(), "data": data, "device": self.device.type} | {
            "parent": self._begin.parent, "teacher": self.teacher.model.weights_id if self.teacher else None,
            "pixel mean": list(self._preprocess.mean), "pixel deviation": list(self._preprocess.std),
        }  # fmt: skip

    def _save_state(self, state: loop.TrainingState, seconds: float) -> None:
        if is_first():
            described = self._fingerprint() | {
                "assignment": self._assignment.to_json() if self._assignment else None, "log": self.log,
                "elapsed": self.elapsed_before + seconds, "processes": world()[1]
            }  # fmt: skip
            saved_state.save(resume.path_of(self.out), state, described)
        self._saved_step, self._saved_at = state.step, seconds

    def _restore(self, state: loop.TrainingState) -> None:
        described = saved_state.restore(resume.path_of(self.out), state, self._fingerprint())
        self.log, self.elapsed_before = described["log"], described["elapsed"]
        if self._assignment is not None:
            self._assignment.from_json(described["assignment"])
        self._saved_step = state.step
        if self.minutes is None:
            state.total = state.planned
        now = {"threads": torch.get_num_threads(), "processes": world()[1]}
        for name, count in now.items():
            if described.get(name, 1) != count:
                self.notes.append(f"begun with {described.get(name, 1)} {name}: the last bits will differ")
        self.notes.append(f"continuing after update {state.step} of {state.total}")


def _tracker_name(name: str, row: dict[str, Any]) -> str:
    """What a tracker calls a score: with the target's name, where there are several."""
    return f"{name}/{row['target']}" if "target" in row else name
