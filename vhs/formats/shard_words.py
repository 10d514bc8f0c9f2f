"""A shard set in words."""

from __future__ import annotations

from vhs.formats.shards import ShardSet


def _attributes(item: ShardSet) -> list[tuple[str, object]]:
    """What samples are grouped by, and the values of each."""
    values = item.manifest.values
    told = [f"{name} ({', '.join(values.get(name, ())[:5])})" for name in item.manifest.groups]
    return [("attributes", "; ".join(told))] if told else []


def rows(item: ShardSet) -> list[tuple[str, object]]:
    """(what, how it is) of a set."""
    manifest = item.manifest
    size = f"{manifest.height}x{manifest.width}" if manifest.height else "of several sizes"
    several = [("labels", f"up to {manifest.labels} a sample are right")] if manifest.labels > 1 else []
    if manifest.members:
        stands = sum(len(names) for names in manifest.members.values())
        several.append(("members", f"its classes stand for {stands} of a model"))
    return [
        ("shard set", f"{manifest.name}/{manifest.split} in {item.folder}, {manifest.hash}"),
        ("samples", f"{manifest.samples} in {len(manifest.tars)} tars, {size}, {manifest.channels} channels"),
        *([("tars", f"of others, in {manifest.tars_at}")] if manifest.tars_at is not None else []),
        ("classes", f"{len(manifest.classes)}: {', '.join(manifest.classes[:10])}"),
        *several,
        *_attributes(item),
        ("licence", manifest.licence or "not stated"),
    ]
