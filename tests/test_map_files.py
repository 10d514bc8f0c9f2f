"""Maps files: what is in them, what is refused, and the figures they become."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.photographs import photograph
from vhs.errors import InputError, UsageError
from vhs.figures import map_cells
from vhs.figures import maps as sheets
from vhs.formats import map_file
from vhs.formats.descriptions import checksum
from vhs.formats.map_file import MapFile


@pytest.fixture
def made(vhs, toy_checkpoint: Path, tmp_path: Path) -> Path:
    """Four samples, clean and under two shifts, whole."""
    code, out, err = vhs(
        "specialize", toy_checkpoint, "--shift", "contrast:3", "--shift", "fog:1", "--max-samples", 4, "--full",
        "--activity", 2, "--maps", "m.safetensors",
    )  # fmt: skip
    assert code == 0 and out == "m.safetensors\n", err
    return tmp_path / "m.safetensors"


def test_what_is_in_it_is_what_the_model_does(made: Path, toy_checkpoint: Path, toy_shards: Path) -> None:
    import vhs
    from vhs.measures.observation import Observer

    file = map_file.read(made)
    model = vhs.load_model(toy_checkpoint, device="cpu").model
    images = file.get("images", 0, 1)
    assert images.shape == (42, 28, 1) and images.dtype == np.uint8
    pixels = model.preprocess(torch.from_numpy(images.transpose(2, 0, 1))[None])
    seen = Observer(model).see(pixels)
    for index, layer in enumerate(seen.layers):
        stored = file.get("maps", 0, 1, index)
        assert stored.shape == (2, 7, 7) and np.allclose(stored, layer.weights_RHQK[0], atol=1e-3)
    info = file.info
    assert info.conditions == ("clean", "imagenet-c/contrast:3", "imagenet-c/fog:1") and len(info.samples) == 4
    assert info.answers[0][1] == model.classes[int(seen.logits_BC.argmax())]
    assert info.targets[0] == info.labels and info.looker == "class" and info.whole
    assert info.layers[2].grid == (3, 2) and info.layers[2].special == ("class",)
    assert file.get("rollout", 2, 3).shape == (6,) and (file.get("relevance", 0, 0) >= 0).all()
    assert file.get("aligned", 1, 2).shape == (2, 5, 3) and file.get("aligned", 1, 2).sum() == pytest.approx(
        2, abs=1e-2
    )
    assert set(np.unique(file.get("activity", 0, 0))) == {0, 1}


def test_numpy_reads_it_in_five_lines(made: Path) -> None:
    """As docs/formats.md has it."""
    code = (
        "import json\nfrom safetensors import safe_open\n"
        f"with safe_open({str(made)!r}, 'np') as file:\n"
        "    info = json.loads(file.metadata()['vhs-maps'])\n"
        "    maps = file.get_tensor('maps/0/2/1')  # condition 0, sample 2, layer 1: [heads, queries, keys]\n"
        "print(info['samples'][2], maps.shape, 'torch' in __import__('sys').modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1)[1] == "(2, 7, 7) False\n"


def test_equal_runs_give_equal_bytes(vhs, toy_checkpoint: Path) -> None:
    for name in ("a", "b"):
        assert vhs("specialize", toy_checkpoint, "--shift", "fog:2", "--maps", f"{name}.safetensors")[0] == 0
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


@pytest.mark.parametrize("kind", sheets.KINDS)
def test_every_kind_is_drawn(vhs, made: Path, kind: str) -> None:
    if kind == "top":
        code, _, err = vhs("plot", made, "--kind", kind)
        assert code == 3 and "Make it with --top-images K" in err
        return
    paths = [made, made] if kind == "beside" else [made]
    code, out, err = vhs("plot", *paths, "--kind", kind, "-o", f"{kind}.png")
    assert code == 0 and out == f"{kind}.png\n", err
    assert min(Image.open(f"{kind}.png").size) > 200


def test_a_patch_looks(vhs, made: Path) -> None:
    assert vhs("plot", made, "--query", "2,1", "--head", "L1H0", "--kind", "conditions", "-o", "q.png")[0] == 0
    code, _, err = vhs("plot", made, "--query", "3,0")
    assert code == 2 and "the grid has 3 rows and 2 columns, from 0" in err
    code, _, err = vhs("plot", made, "--query", "left")
    assert code == 2 and "expected ROW,COLUMN" in err


def test_the_most_important_head_of_a_table(vhs, made: Path, toy_checkpoint: Path) -> None:
    import polars as pl

    assert vhs("ablate", toy_checkpoint, "-o", "heads.csv")[0] == 0
    assert vhs("plot", made, "--kind", "conditions", "--head", "heads.csv", "-o", "a.png")[0] == 0
    rows = pl.read_csv("heads.csv").filter(pl.col("unit") == "head").sort("drop", descending=True, maintain_order=True)
    assert vhs("plot", made, "--kind", "conditions", "--head", rows["heads"][0], "-o", "b.png")[0] == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes()
    assert vhs("specialize", toy_checkpoint, "-o", "s.csv")[0] == 0
    code, _, err = vhs("plot", made, "--head", "s.csv")
    assert code == 3 and "has no single heads on clean images" in err


def test_what_a_patch_looks_at_is_its_row(made: Path) -> None:
    file = map_file.read(made)
    wanted = map_cells.parse(["2.1"], None, "1,0", "attention")
    found = list(map_cells.maps(file, 1, (2, 1), wanted))
    assert np.allclose(found[3], file.get("maps", 1, 3, 2)[1, 1 + 2, 1:].reshape(3, 2))
    of_class = list(map_cells.maps(file, 1, (2, 1), map_cells.Wanted()))
    assert np.allclose(of_class[3], file.get("maps", 1, 3, 2)[1, 0, 1:].reshape(3, 2))
    valued = list(map_cells.maps(file, 1, (2, 1), map_cells.Wanted(weighting="value")))
    assert np.allclose(valued[0], file.get("weighted", 1, 0, 2)[1, 0, 1:].reshape(3, 2))


def test_through_a_pipe(vhs_program: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
    script = f"vhs specialize {toy_checkpoint} --max-samples 2 --maps - | vhs plot -o piped.png"
    done = run(script, vhs_program, tmp_path)
    assert done.returncode == 0 and done.stdout == "piped.png\n", done.stderr
    assert Image.open(tmp_path / "piped.png").size[0] > 200


def run(script: str, program: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    from tests.shells import environment

    path = f"{program.parent}:{environment()['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script], cwd=folder, env=environment() | {"PATH": path}, capture_output=True,
        text=True,
    )  # fmt: skip


def test_pictures_named_on_the_command_line(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    Image.fromarray(photograph(120, 90)).save("photo.jpg")
    code, _, err = vhs(
        "specialize", toy_checkpoint, "--image", "photo.jpg", "--shift", "contrast:5", "--maps", "p.safetensors"
    )
    assert code == 0, err
    file = map_file.read(tmp_path / "p.safetensors")
    assert file.info.samples == ("photo",) and file.info.labels == (None,) and file.info.data == "pictures"
    assert file.get("images", 1, 0).shape == (42, 28, 1)
    assert file.info.targets == file.info.answers  # without a label relevance is of the answer
    assert (
        vhs("plot", "p.safetensors")[0] == 0
        and vhs("plot", "p.safetensors", "--kind", "relevance", "-o", "r.pdf")[0] == 0
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--image", "x.jpg"), 2, "--image: says what --maps shows. Add --maps FILE"),
        (("--full",), 2, "--full: says what"),
        (("--maps", "m.safetensors", "--regions"), 2, "--regions: is of the table, which --maps stands for"),
        (("--maps", "m.safetensors", "--dry-run"), 2, "--dry-run: is of the table"),
        (("--maps", "m.safetensors", "--image", "none.jpg"), 3, "none.jpg: cannot be read: No such file"),
        (("--maps", "m.safetensors", "--sample", "nobody"), 4, "has no sample nobody. Its samples are val-00000"),
        (("--maps", "m.safetensors", "--image", "x.jpg", "--top-images", "2"), 2, "Drop one of them"),
        (("--maps", "m.safetensors", "--activity", "1"), 2, "activity is 1; expected 2 to 9"),
        (("--maps", "m.safetensors", "--shift", "clean_own"), 2, "clean_own"),
    ],
)  # fmt: skip
def test_what_is_refused(vhs, toy_checkpoint: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    found, out, err = vhs("specialize", toy_checkpoint, *arguments)
    assert (found, out) == (code, "") and message in err and err.count("\n") == 1, err
    assert not Path("m.safetensors").exists()


def test_images_that_drive_heads(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    """Against the direct scores of all images."""
    import vhs as package
    from vhs.batch import Batch
    from vhs.measures.direct import direct_scores
    from vhs.measures.observation import Observer
    from vhs.measures.scoring import View

    code, _, err = vhs("specialize", toy_checkpoint, "--top-images", 3, "--maps", "t.safetensors")
    assert code == 0, err
    file = map_file.read(tmp_path / "t.safetensors")
    images, labels = package.read_images(toy_checkpoint.parent / "shards" / "val")
    model = package.load_model(toy_checkpoint, device="cpu").model
    none = torch.zeros(len(labels), dtype=torch.int64)
    batch = Batch(images, labels, none, none, none[None], len(labels))
    with torch.inference_mode():
        seen = Observer(model).see(model.preprocess(images))
        scores = direct_scores(seen, model, View("all", "all", torch.arange(5)), batch)
    assert scores is not None
    for index, head in enumerate(model.grid):
        ranked = file.info.top[str(head)]
        most = scores[index].sort(descending=True).values[:3]
        least = scores[index].sort().values[:3]
        assert [score for _, score in ranked["most"]] == pytest.approx(most.tolist(), abs=1e-4)
        assert [score for _, score in ranked["least"]] == pytest.approx(least.tolist(), abs=1e-4)
        place = int(ranked["most"][0][0])
        assert np.array_equal(file.get("images", 0, place)[..., 0], images[scores[index].argmax(), 0].numpy())
    assert vhs("plot", "t.safetensors", "--kind", "top", "--head", "L2H1", "-o", "top.png")[0] == 0


def test_ranked_images_are_named_where_bad_ones_were_left_out(vhs, toy_checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(toy_checkpoint.parent / "shards" / "val", "val")
    tar = next(Path("val").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    start = data.index(b"\x89PNG")
    data[start + 40 : start + 60] = bytes(20)
    tar.write_bytes(data)
    options = ("--data", "val", "--skip-bad", "--no-verify", "--top-images", 1, "--maps", "t.safetensors")
    code, _, err = vhs("specialize", toy_checkpoint, *options)
    assert code == 0, err
    file = map_file.read(tmp_path / "t.safetensors")
    for ranked in file.info.top.values():
        (place, score), *_ = ranked["most"]
        heads = list(file.info.top)
        stored = file.get("direct", 0, int(place))[heads.index(next(h for h in heads if file.info.top[h] is ranked))]
        assert stored == pytest.approx(score, abs=1e-4)


def test_beside_a_table(vhs, toy_checkpoint: Path) -> None:
    code, out, _ = vhs("specialize", toy_checkpoint, "-o", "s.csv", "--maps", "m.safetensors", "--max-samples", 20)
    assert code == 0 and Path("s.csv").exists() and map_file.is_map_file(Path("m.safetensors"))
    assert out == "m.safetensors\n"


def test_other_commands_tell_maps_from_checkpoints(vhs, made: Path, toy_checkpoint: Path) -> None:
    code, out, _ = vhs("info", made)
    assert code == 0 and "maps        of" in out and "from every token" in out
    code, _, err = vhs("ablate", made)
    assert code == 3 and "is a maps file, which `vhs plot` draws" in err
    code, _, err = vhs("plot", toy_checkpoint)
    assert code == 3 and "is no maps file. `vhs specialize MODEL --maps FILE` writes one" in err
    (made.parent / "s.csv").write_text("a,b\n1,2\n")
    code, _, err = vhs("plot", made, "s.csv")
    assert code == 2 and "maps and tables are drawn apart" in err


def header_of(data: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def changed(data: bytes, **values: object) -> bytes:
    """With other values in the description, the tensors as they are."""
    header, rest = header_of(data)
    described = json.loads(header["__metadata__"]["vhs-maps"]) | values
    described["checksum"] = checksum(described)
    header["__metadata__"]["vhs-maps"] = json.dumps(described)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + rest


def test_damage_is_named(made: Path) -> None:
    data = made.read_bytes()
    flipped = bytearray(data)
    flipped[-3] ^= 1
    for bad, message in (
        (bytes(flipped), "its maps are not those that were written"), (data[:-10], "damaged maps file"),
        (data[:2000], "no maps file"), (b"", "no maps file"), (changed(data, format=9), "maps format 9"),
        (changed(data, samples=["one"]), "do not agree"), (changed(data, layers=[{"layer": "x"}]), "damaged"),
        (changed(data, conditions=7), "damaged"), (changed(data, labels=[{}] * 4), "is not text"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            map_file.from_bytes(bad, "x")
    with pytest.raises(InputError, match="another checksum"):
        map_file.from_bytes(data.replace(b'\\"seed\\": 0', b'\\"seed\\": 7'), "x")


def test_a_grid_that_does_not_fit_is_refused(made: Path) -> None:
    data = made.read_bytes()
    header, _ = header_of(data)
    layers = json.loads(header["__metadata__"]["vhs-maps"])["layers"]
    for layer in layers:
        layer["grid"] = [4, 4]
    file = map_file.from_bytes(changed(data, layers=layers), "x")
    with pytest.raises(InputError, match="has 6 patches, its grid is"):
        sheets.draw([file], None, map_cells.Wanted())


def test_files_of_other_images_are_not_drawn_together(vhs, made: Path, toy_checkpoint: Path, tmp_path: Path) -> None:
    assert vhs("specialize", toy_checkpoint, "--sample", "val-00003", "--maps", "o.safetensors")[0] == 0
    code, _, err = vhs("plot", made, "o.safetensors")
    assert code == 3 and "is of other images or shifts than" in err


def test_from_python(toy_checkpoint: Path, toy_shards: Path, tmp_path: Path) -> None:
    import vhs

    model = vhs.load_model(toy_checkpoint, device="cpu")
    found = vhs.maps(
        model, toy_shards, samples=["val-00007", "val-00002"], shift="fog:1", out=tmp_path / "m.safetensors"
    )
    assert isinstance(found, MapFile) and found.info.samples == ("val-00007", "val-00002")
    again = vhs.read_maps(tmp_path / "m.safetensors")
    assert np.array_equal(again.get("maps", 1, 0, 2), found.get("maps", 1, 0, 2))
    figure = vhs.plot(again, head="L1H1", kind="conditions")
    assert figure._repr_png_()[:4] == b"\x89PNG"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="are of maps"):
        vhs.plot(tmp_path / "none.csv", head="L1H1")


def test_layers_in_windows_are_left_out_by_name(vhs, toy_shards: Path, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    sizes = {"img_size": 56, "in_chans": 1, "num_classes": 5, "depths": (1, 1), "embed_dim": 24, "num_heads": (2, 3)}
    torch.manual_seed(0)
    save_file(timm.create_model("swin_tiny_patch4_window7_224", **sizes).state_dict(), tmp_path / "w.safetensors")
    model = (
        "timm:swin_tiny_patch4_window7_224:img_size=56,in_chans=1,num_classes=5,depths=1x1,embed_dim=24,num_heads=2x3"
    )
    reference = f"{model}@{tmp_path / 'w.safetensors'}"
    code, _, err = vhs("specialize", reference, "--data", toy_shards / "val", "--maps", "m.safetensors")
    assert code == 0 and "layers 0 attend in windows" in err, err
    file = map_file.read(tmp_path / "m.safetensors")
    assert [layer.stored for layer in file.info.layers] == [False, True] and file.find("rollout", 0, 0) is None
    code, _, err = vhs("plot", "m.safetensors", "--kind", "rollout")
    assert code == 3 and "has no rollout" in err
    assert vhs("plot", "m.safetensors")[0] == 0
