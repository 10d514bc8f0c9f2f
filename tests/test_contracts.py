"""What users build on: a change here breaks their scripts, so it must be meant."""

import json
from dataclasses import fields
from pathlib import Path

from vhs.cli import COMMANDS
from vhs.formats.checkpoints import CheckpointInfo
from vhs.formats.manifest import Manifest
from vhs.formats.schemas import SCHEMAS
from vhs.training.recipe import Recipe

PINNED = Path(__file__).parent / "contracts.json"


def contracts() -> dict[str, list[str]]:
    """Table columns, checkpoint and manifest keys, recipe keys, command options."""
    found = {f"table {schema.name}": schema.names for schema in SCHEMAS.values()}
    found |= {kind.__name__: [item.name for item in fields(kind)] for kind in (CheckpointInfo, Manifest, Recipe)}
    return found | {f"vhs {command.__name__}": sorted(command.__annotations__) for command in COMMANDS}


def test_contracts_are_as_pinned() -> None:
    """Regenerate with `python -m tests.test_contracts`, and say in the commit what breaks for whom."""
    assert contracts() == json.loads(PINNED.read_text())


def test_every_command_helps_with_an_example_and_documents_its_options() -> None:
    for command in COMMANDS:
        assert "Example: vhs" in (command.__doc__ or "")
    tables = (PINNED.parent.parent / "docs" / "tables.md").read_text()
    for schema in SCHEMAS.values():
        assert all(column.meaning for column in schema.columns) and f"## {schema.name}\n" in tables


if __name__ == "__main__":
    PINNED.write_text(json.dumps(contracts(), indent=1) + "\n")
