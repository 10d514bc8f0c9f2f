"""What a manifest must be, whoever wrote it, before anything is done with what it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vhs.errors import InputError
from vhs.formats.manifest import Manifest

MAX_SIDE = 16384
SHA256 = re.compile(r"[0-9a-f]{64}")
"""Hashes become names of files where tars are kept (formats/tar_cache)."""
MAX_NUMBER = 1e30
TASKS = ("classification", "regression")
NO_MANIFEST = "is not a shard manifest: "


def check(manifest: Manifest, where: object) -> Manifest:
    """The manifest. Raises InputError for what it cannot be."""
    found = wrong(manifest)
    if found:
        raise InputError(f"{where}: {found}")
    return manifest


def wrong(manifest: Manifest) -> str | None:
    """What is wrong with it, in words; None where nothing is."""
    found = _names(manifest) or _right(manifest) or _counts(manifest)
    return found or _tars(manifest) or _pixels(manifest) or _extra(manifest.extra)


def _names(manifest: Manifest) -> str | None:
    lists = (manifest.classes, manifest.groups, manifest.targets, manifest.regions)
    if not all(isinstance(part, tuple) for part in lists) or not isinstance(manifest.values, dict):
        return f"{NO_MANIFEST}classes, groups, targets and regions are lists of names."
    texts = (manifest.name, manifest.split, manifest.task, manifest.source, manifest.licence)
    if not _all_text([*texts, *(name for part in lists for name in part), *manifest.values]):
        return f"{NO_MANIFEST}its names are not text."
    if set(manifest.values) != set(manifest.groups) or not _all_text(
        v for part in manifest.values.values() for v in part
    ):
        return f"{NO_MANIFEST}groups without their values."
    for words in (manifest.classes, manifest.targets, *manifest.values.values()):
        if len(set(words)) < len(words):
            return f"{NO_MANIFEST}a name stands twice in a list."
    if manifest.task not in TASKS or manifest.regression != bool(manifest.targets):
        return f"{NO_MANIFEST}task {manifest.task!r:.40} with {len(manifest.targets)} targets."
    if not manifest.classes and not manifest.targets:
        return f"{NO_MANIFEST}it has neither classes nor targets."
    base = manifest.base
    if base is not None and not (isinstance(base, dict) and {"name", "hash"} <= set(base) and _all_text(base.values())):
        return f"{NO_MANIFEST}base is {base!r:.40}, expected name and hash, or null."
    return None


def _right(manifest: Manifest) -> str | None:
    """Of samples with several labels, and classes that stand for several."""
    most = max(len(manifest.classes), 1)
    if type(manifest.labels) is not int or not 1 <= manifest.labels <= most:
        return f"{NO_MANIFEST}{manifest.labels!r:.40} labels a sample, of {len(manifest.classes)} classes."
    members = manifest.members
    if not isinstance(members, dict) or (members and set(members) != set(manifest.classes)):
        return f"{NO_MANIFEST}its members are not of its classes."
    if not all(names and _all_text(names) and len(set(names)) == len(names) for names in members.values()):
        return f"{NO_MANIFEST}a class stands for no classes, or for one twice."
    return None


def _counts(manifest: Manifest) -> str | None:
    counts = [manifest.samples, *(count for entry in manifest.tars for count in (entry.samples, entry.bytes))]
    if not all(type(count) is int and 0 <= count < 2**53 for count in counts):
        return f"{NO_MANIFEST}its counts are not whole numbers."
    if manifest.samples != sum(entry.samples for entry in manifest.tars):
        return f"says {manifest.samples} samples, its tars hold another number."
    return "the shard set is empty. Was the source folder empty?" if manifest.samples < 1 else None


def _tars(manifest: Manifest) -> str | None:
    for entry in manifest.tars:
        name = entry.name
        if not isinstance(name, str) or Path(name).name != name or not name.endswith(".tar") or not name.isprintable():
            return f"tar name {name!r:.80} leaves the folder."
        if not isinstance(entry.sha256, str) or not SHA256.fullmatch(entry.sha256):
            return f"{NO_MANIFEST}{name} has no sha256."
    if len({entry.name for entry in manifest.tars}) < len(manifest.tars):
        return f"{NO_MANIFEST}one tar stands in it twice."
    return None


def _pixels(manifest: Manifest) -> str | None:
    sides = (manifest.height, manifest.width)
    if sides != (None, None) and not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        return f"images of {manifest.height!r:.20} x {manifest.width!r:.20} px; expected 1 to {MAX_SIDE}."
    if not isinstance(manifest.mean, tuple) or not isinstance(manifest.std, tuple):
        return "pixel mean and std must be lists of numbers."
    if not _numbers((*manifest.mean, *manifest.std), 1e6) or min(manifest.std, default=1) <= 0:
        return "pixel mean and std must be numbers, std above 0."
    known = type(manifest.channels) is int and manifest.channels in (1, 3)
    if not known or len(manifest.mean) != manifest.channels or len(manifest.std) != manifest.channels:
        return f"{manifest.channels!r:.20} channels with {len(manifest.mean)} means; expected 1 or 3."
    return None


def _extra(extra: Any) -> str | None:
    """What is read of `extra`: the targets' means and deviations, how many training samples a group has, the plan."""
    if not isinstance(extra, dict):
        return f"{NO_MANIFEST}extra is {extra!r:.40}, expected an object."
    stats, shares = extra.get("target_stats", {}), extra.get("train_groups", {})
    if not isinstance(stats, dict) or not all(
        isinstance(pair, list) and len(pair) == 2 and _numbers(pair, MAX_NUMBER) and pair[1] > 0
        for pair in stats.values()
    ):
        return f"{NO_MANIFEST}target_stats must be pairs of mean and deviation."
    if not isinstance(shares, dict) or not all(_shares(counts) for counts in shares.values()):
        return f"{NO_MANIFEST}train_groups must be numbers of samples."
    texts = (extra.get("plan", ""), extra.get("tars_at") or "")
    return None if _all_text(texts) else f"{NO_MANIFEST}its plan, or where its tars are, is not text."


def _shares(counts: Any) -> bool:
    return isinstance(counts, Mapping) and all(type(count) is int and 0 <= count < 2**53 for count in counts.values())


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) and (value.isascii() or _is_utf8(value)) for value in values)


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _numbers(values: Iterable[Any], most: float) -> bool:
    return all(
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < most for value in values
    )
