"""Checkpoints: round trips, timm, half precision, and hostile files."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import CLASSES
from vhs.errors import InputError
from vhs.formats import checkpoints
from vhs.models.spec import ViTSpec

SPEC = ViTSpec(depth=2, dim=12, heads=3, head_width=4, hidden=20, patch=5, height=15, width=10, channels=1, classes=5)


def checkpoint(path: Path, **change: object) -> checkpoints.CheckpointInfo:
    from vhs.models.building import build

    info = checkpoints.CheckpointInfo(
        spec=SPEC, classes=CLASSES, mean=(0.5,), std=(0.2,), timm=checkpoints.timm_arguments(SPEC)
    )
    torch.manual_seed(0)
    checkpoints.save(path, build(SPEC).state_dict(), info)
    if change:
        _rewrite(path, change)
    return info


def _rewrite(path: Path, change: dict) -> None:
    """Change the description in place, leaving the tensors."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    raw = json.loads(header["__metadata__"]["vhs"])
    spec = change.pop("spec", {})
    header["__metadata__"]["vhs"] = json.dumps(raw | change | {"spec": raw["spec"] | spec})
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


class TestCheckpoints:
    def test_round_trip(self, tmp_path: Path) -> None:
        info = checkpoint(tmp_path / "a.safetensors")
        loaded, state = checkpoints.load(tmp_path / "a.safetensors")
        assert loaded == replace(info, weights_id=checkpoints.weights_id(state)) and len(loaded.weights_id) == 12
        checkpoint(tmp_path / "b.safetensors")
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()

    def test_opens_in_timm_with_what_its_metadata_says(self, tmp_path: Path) -> None:
        import timm
        from safetensors import safe_open
        from safetensors.torch import load_file

        from vhs.formats import references

        checkpoint(tmp_path / "a.safetensors")
        with safe_open(tmp_path / "a.safetensors", "pt") as file:
            made = json.loads(file.metadata()["vhs"])["timm"]
        net = timm.create_model(made["name"], **made["kwargs"])
        net.load_state_dict(load_file(tmp_path / "a.safetensors"), strict=True)
        ours = references.load(str(tmp_path / "a.safetensors"), torch.device("cpu")).model.net
        pixels = torch.randn(3, 1, 15, 10)
        assert torch.equal(net.eval()(pixels), ours(pixels))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"spec": {"depth": 10**9}}, "depth is 1000000000, expected a whole number 1 to 1024"),
            ({"spec": {"depth": 900}}, "says depth 900 but holds"),
            ({"spec": {"dim": 65000}}, "has shape .* its architecture says"),
            ({"spec": {"heads": True}}, "heads is True"),
            ({"spec": {"heads": "3"}}, "heads is '3'"),
            ({"spec": {"patch": 4}}, "is not a whole number of 4 px patches"),
            ({"spec": {"pool": "map"}}, "pool is 'map', expected token or avg"),
            ({"spec": {"more": 1}}, "missing or unknown: more"),
            ({"classes": ["a"]}, "1 class names for 5 outputs"),
            ({"std": [0]}, "std above 0"),
            ({"mean": ["x"]}, "must be numbers"),
            ({"format": 2}, "checkpoint format 2, this vhs reads 1"),
            ({"data": []}, "data is \\[\\], expected dict"),
            ({"data": {"val": "x"}}, "data 'val' is damaged"),
            ({"data": {"val": {"path": "x" * 5000}}}, "data 'val' is damaged"),
            ({"step": "ten"}, "step is 'ten', expected int"),
            ({"step": 10**30}, "step is 1000"),
            ({"timm": {"x": 1}}, "expected name and kwargs"),
            ({"classes": [1, 2, 3, 4, 5]}, "its class names are not text"),
        ],
    )
    def test_hostile_descriptions_are_refused_before_anything_is_built(
        self, tmp_path: Path, change: dict, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.safetensors"
        checkpoint(path, **change)
        monkeypatch.setattr("timm.models.VisionTransformer.__init__", lambda *_: pytest.fail("built"))
        with pytest.raises(InputError, match=message):
            checkpoints.load(path)

    def test_other_files(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        save_file({"a": torch.zeros(2)}, path)
        with pytest.raises(InputError, match=r"not a vhs checkpoint\. For timm weights"):
            checkpoints.load(path)
        path.write_bytes(struct.pack("<Q", 2**60) + b"{}")
        with pytest.raises(InputError, match="claims to be over 100 MB"):
            checkpoints.load(path)
        path.write_bytes(b"PK\x03\x04 this is a zip, such as torch.save writes")
        with pytest.raises(InputError, match="is not a safetensors file"):
            checkpoints.load(path)
        path.write_bytes(struct.pack("<Q", 100_000) + b"[" * 100_000)
        with pytest.raises(InputError, match="is not a safetensors file"):
            checkpoints.load(path)
        checkpoint(path)
        path.write_bytes(path.read_bytes()[:-500])
        with pytest.raises(InputError, match="lies outside the file, which is cut off"):
            checkpoints.load(path)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint(tmp_path / "a.safetensors")
    info = replace(checkpoints.load(tmp_path / "a.safetensors")[0], weights_id=None)  # others' files have none
    half = {name: tensor.half() for name, tensor in load_file(tmp_path / "a.safetensors").items()}
    save_file(half, tmp_path / "h.safetensors", metadata={"vhs": info.to_json()})
    _, state = checkpoints.load(tmp_path / "h.safetensors")
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    save_file({n: t.int() for n, t in half.items()}, tmp_path / "i.safetensors", metadata={"vhs": info.to_json()})
    with pytest.raises(InputError, match="of type I32"):
        checkpoints.load(tmp_path / "i.safetensors")
