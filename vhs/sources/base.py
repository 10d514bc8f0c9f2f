"""A shifted set and the clean set it comes from."""

from __future__ import annotations

from dataclasses import replace

from vhs.errors import MismatchError
from vhs.formats.places import Place
from vhs.formats.shards import ShardSet
from vhs.formats.split import Split, right_labels, with_labels
from vhs.formats.verification import check_tars


def as_shifted(split: Split, folder: Place) -> Split:
    """`split` as a version of the clean set in `folder`, with its class names, its attributes and its name recorded.

    Raises MismatchError naming a sample that the clean set lacks or labels otherwise, or a class it lacks.
    """
    clean = ShardSet.open(folder)
    names = clean.manifest.classes
    if split.members_of and dict(split.members_of) != clean.manifest.members:
        raise MismatchError(
            f"{split.name}: its superclasses are not those of {folder}. Shard both with one --class-map."
        )
    if split.targets:
        return _shifted_targets(split, clean, folder)
    numbered = split.classes == tuple(str(number) for number in range(len(split.classes)))
    unknown = [] if numbered and len(split.classes) <= len(names) else sorted(set(split.classes) - set(names))
    if unknown:
        raise MismatchError(f"{split.name}: class {unknown[0]} is not among the {len(names)} of {folder}.")
    place = list(range(len(names))) if numbered else [names.index(name) for name in split.classes]
    labels = [tuple(place[label] for label in of_one) for of_one in right_labels(split)]
    if clean.digests is None:
        check_tars(clean)
    samples = {sample.id: sample for sample in clean.samples()}
    known = {name: sample.labels or (sample.label,) for name, sample in samples.items()}
    for name, of_one in zip(split.ids, labels, strict=True):
        if known.get(name) != of_one:
            told = "is not in" if name not in known else f"has label {_in_words(of_one)}, not {_in_words(known[name])}"
            why = told if name not in known else f"{told} as in"
            raise MismatchError(
                f"{split.name}/{split.folder}: {name} {why} {folder}. Is that the set it was made from?"
            )
    base = _name_of(clean)
    attributes = {
        attribute: [samples[name].attributes[column] for name in split.ids]
        for column, attribute in enumerate(clean.manifest.groups)
    }
    made = replace(
        split, classes=names, base=base, attributes=attributes | dict(split.attributes),
        members_of=clean.manifest.members,
    )  # fmt: skip
    return with_labels(made, labels)


def _in_words(labels: tuple[int, ...]) -> str:
    return ", ".join(str(label) for label in labels)


def _name_of(clean: ShardSet) -> dict[str, str]:
    return {"name": f"{clean.manifest.name}/{clean.manifest.split}", "hash": clean.manifest.hash}


def _shifted_targets(split: Split, clean: ShardSet, folder: Place) -> Split:
    """The same for a set with targets, whose numbers must be equal."""
    known = {sample.id: sample.targets for sample in clean.samples()}
    for position, name in enumerate(split.ids):
        if known.get(name) != tuple(float(values[position]) for values in split.targets.values()):
            raise MismatchError(f"{split.name}: {name} is not in {folder}, or has other targets there.")
    return replace(
        split, base=_name_of(clean), extra=split.extra | {"target_stats": clean.manifest.extra["target_stats"]}
    )
