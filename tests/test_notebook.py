"""The functions for notebooks return what the commands write."""

from pathlib import Path

from tests.commands import SHIFT, rows


def test_notebook_functions_return_what_the_commands_write(vhs, toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs as package

    model = package.load_model(toy_checkpoint, device="cpu")
    data = package.open_shards(toy_shards)
    table, folds, _ = package.ablate(model, data, shift=["contrast:3", "gaussian_noise:5"])
    assert rows(vhs("ablate", toy_checkpoint, *SHIFT)[1])["dloss"].equals(table["dloss"])
    assert len(package.compare(folds)) == 8
    assert package.evalshift(model, shift="contrast:1").rows["n"].to_list() == [85, 85]
    assert len(package.specialize(model)[1]) == 15
