"""Hugging Face folders: made by transformers where it is installed (`make test-all`), else by the names it writes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.hf_folders import LABELS, PIXELS, VIT, on_disk
from tests.naive import whole_passes
from vhs.errors import InputError
from vhs.formats import hf_config, huggingface


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(0)
    net = timm.models.VisionTransformer(
        img_size=33, patch_size=11, num_classes=7, embed_dim=30, depth=3, num_heads=5, mlp_ratio=53 / 30,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-12),
    ).eval()  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    path = tmp_path / "vit"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(VIT | LABELS))
    (path / "preprocessor_config.json").write_text(json.dumps(PIXELS))
    save_file(on_disk(net), path / "model.safetensors")
    return path, net


def test_a_vit_folder_gives_the_networks_logits(folder) -> None:
    path, net = folder
    told = huggingface.load(str(path))
    pixels = torch.randn(2, 3, 33, 33)
    with torch.inference_mode():
        assert torch.allclose(told.net.eval()(pixels), net(pixels), atol=1e-6)
    assert told.classes == tuple("abcdefg") and told.preprocess.mean == (0.4, 0.5, 0.6)
    assert (told.preprocess.height, told.preprocess.width) == (33, 33)


def test_it_ablates_with_the_integers_of_its_timm_twin(folder, vhs, tmp_path) -> None:
    import numpy as np
    import polars as pl

    from vhs.formats.sharding import write_set
    from vhs.formats.split import from_arrays
    from vhs.models.engine import engine_of
    from vhs.models.model import Preprocess

    path, net = folder
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (32, 33, 33, 3), dtype=np.uint8), np.arange(32) % 7
    write_set(tmp_path / "seven", from_arrays(images, labels, name="seven", split="val", classes="abcdefg", prefix="s"))
    code, _, err = vhs("ablate", f"hf:{path}", "--data", tmp_path / "seven", "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    preprocess = Preprocess(height=33, width=33, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2,) * 3)
    with torch.inference_mode():
        logits = whole_passes(net, engine_of(net), preprocess(torch.from_numpy(images).permute(0, 3, 1, 2)))
    right = (logits.argmax(-1) == torch.from_numpy(labels)).sum(1).tolist()
    assert table["n_near_tie"].sum() == 0 and table["n_correct"].to_list() == right
    loss = torch.nn.functional.cross_entropy(logits[1].double(), torch.from_numpy(labels)).item()
    assert abs(table["loss"][1] - loss) < 1e-4 and table["dloss"].abs().max() > 1e-3
    code, out, err = vhs("info", f"hf:{path}")
    assert code == 0 and "15 in 3 layers: 0-2: 5" in out and "fast" in out, err


def test_what_is_wrong_with_a_folder_is_one_line(folder, vhs, toy_shards) -> None:
    path, net = folder
    config = json.loads((path / "config.json").read_text())
    state = on_disk(net)
    lacking = {name: tensor for name, tensor in state.items() if "layer.2.attention.attention.key.weight" not in name}
    for change, tensors, words in (
        ({"model_type": "swin"}, state, "model_type 'swin'; read are vit, deit, dinov2"),
        ({}, lacking, "has q, v, expected q, k and v"),
        ({"hidden_size": 35}, state, "expected (1, 1, 35)"),
        ({}, state | {"vit.odd.weight": torch.zeros(2)}, "vit.odd.weight is not known"),
    ):
        (path / "config.json").write_text(json.dumps(config | change))
        save_file(tensors, path / "model.safetensors")
        code, _, err = vhs("evalshift", f"hf:{path}", "--data", toy_shards / "val")
        assert code == 3 and words in err and err.count("\n") == 1, err
    (path / "config.json").unlink()
    with pytest.raises(InputError, match="A folder that transformers wrote was expected"):
        huggingface.load(str(path))


KINDS = {
    "vit": ("ViTForImageClassification", "ViTConfig", "ViTImageProcessor", 33, 11),
    "deit": ("DeiTForImageClassification", "DeiTConfig", "DeiTImageProcessor", 33, 11),
    "deit distilled": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", "DeiTImageProcessor", 33, 11),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", "BitImageProcessor", 28, 7),
}  # fmt: skip
"""Classes of transformers, image size and patch."""


def theirs(kind: str, path: Path, config: dict | None = None, pixels: dict | None = None):
    """A random classifier and its processor by transformers, saved to `path`."""
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    network, described, processor, image, patch = KINDS[kind]
    width = {"mlp_ratio": 2} if kind == "dinov2" else {"intermediate_size": 53}
    sizes = {"hidden_size": 30, "num_hidden_layers": 3, "num_attention_heads": 5, "num_labels": 7} | width
    told = getattr(transformers, described)(**sizes | {"image_size": image, "patch_size": patch} | (config or {}))
    torch.manual_seed(0)
    net = getattr(transformers, network)(told).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    net.save_pretrained(path)
    square = {"size": {"height": image, "width": image}, "do_center_crop": False}
    made = getattr(transformers, processor)(**square | (pixels or {}))
    made.save_pretrained(path)
    return net, made


def agree(kind: str, path: Path, config: dict | None = None, pixels: dict | None = None) -> None:
    """From uint8 images of the network's size to logits: ours are theirs."""
    net, made = theirs(kind, path, config, pixels)
    told = huggingface.load(str(path))
    own = told.preprocess
    images = torch.randint(0, 256, (2, own.channels, own.height, own.width), dtype=torch.uint8)
    ready = made(list(images), return_tensors="pt", do_resize=False, do_center_crop=False)["pixel_values"]
    with torch.inference_mode():
        want, got = net(ready.float()).logits, told.net.eval()(own(images))
    assert (own(images) - ready).abs().max() / ready.abs().float().max() < 1e-5
    assert (got - want).abs().max() / want.abs().max() < 1e-5, (config, pixels)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    agree(kind, tmp_path)


CONFIGS = (
    *({"hidden_act": name} for name in hf_config.ACTIVATIONS), {"layer_norm_eps": 0.1}, {"layer_norm_eps": 1e-6},
    {"qkv_bias": False}, {"head_dim": 7}, {"num_attention_heads": 4}, {"num_channels": 1}, {"num_labels": 1},
    {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5, "initializer_range": 3.0},
    {"hidden_act": "relu", "qkv_bias": False, "layer_norm_eps": 1e-3, "head_dim": 4},
)  # fmt: skip
ONLY = {
    "vit": ({"image_size": [22, 44]}, {"image_size": 35}, {"patch_size": [3, 11]}, {"intermediate_size": 31},
            {"pooler_output_size": 3, "pooler_act": "relu", "encoder_stride": 3}),
    "deit": ({"image_size": [22, 44]}, {"intermediate_size": 90}),
    "deit distilled": ({"image_size": [22, 44]},),
    "dinov2": ({"mlp_ratio": 3}, {"layerscale_value": 0.1, "drop_path_rate": 0.5}, {"use_mask_token": False},
               {"apply_layernorm": False, "reshape_hidden_states": False, "out_features": ["stage1"]},
               {"image_size": 35}, {"image_size": 42}, {"image_size": 31}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_config_key_gives_the_logits_of_transformers(kind: str, tmp_path: Path) -> None:
    for index, config in enumerate((*CONFIGS, *ONLY[kind])):
        side = config.get("image_size", KINDS[kind][3])
        pixels = {"size": dict(zip(("height", "width"), [side] * 2 if isinstance(side, int) else side, strict=True))}
        if config.get("num_channels") == 1:
            pixels |= {"image_mean": [0.3], "image_std": [0.7], "do_convert_rgb": False}
        agree(kind, tmp_path / str(index), config, pixels)


PREPROCESSED = (
    {"do_normalize": False}, {"do_rescale": False}, {"do_rescale": False, "do_normalize": False},
    {"rescale_factor": 1 / 127.5}, {"rescale_factor": 0.02, "do_normalize": False}, {"image_mean": [0.1, 0.5, 0.7]},
    {"image_std": [0.1, 0.5, 0.7], "rescale_factor": 0.01}, {"image_mean": 0.3, "image_std": 0.4}, {"resample": 3},
    {"do_convert_rgb": True, "pad_size": {"height": 99, "width": 99}}, {"do_resize": False},
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_preprocessor_key_gives_the_logits_of_transformers(kind: str, tmp_path: Path) -> None:
    for index, pixels in enumerate(PREPROCESSED):
        agree(kind, tmp_path / str(index), {"hidden_act": "gelu"}, pixels)


@pytest.mark.slow
@pytest.mark.parametrize("side", [14, 21, 42, 56, 30])
def test_dinov2_runs_at_the_size_its_processor_makes(side: int, tmp_path: Path) -> None:
    """As the published ones, which were trained at 518 px and are fed 224."""
    agree("dinov2", tmp_path, {}, {"size": {"shortest_edge": side + 4}, "do_center_crop": True,
                                   "crop_size": {"height": side, "width": side}})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pixels"),
    [
        ("vit", {}),
        ("vit", {"resample": 3, "size": {"height": 33, "width": 33}}),
        (
            "vit",
            {"size": {"height": 48, "width": 48}, "do_center_crop": True, "crop_size": {"height": 33, "width": 33}},
        ),
        (
            "deit",
            {"size": {"height": 45, "width": 45}, "do_center_crop": True, "crop_size": {"height": 33, "width": 33}},
        ),
        ("dinov2", {"size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": {"height": 28, "width": 28}}),
    ],
)
def test_the_models_own_geometry_is_its_processors(kind: str, pixels: dict, tmp_path: Path) -> None:
    """On photographs of several shapes, `clean_own` makes the pixels of transformers, within what rounding leaves."""
    from tests.photographs import photograph
    from vhs.formats.pixels import resize_and_crop
    from vhs.runs.run import own_geometry

    _, made = theirs(kind, tmp_path, {}, pixels)
    told = huggingface.load(str(tmp_path))
    geometry = own_geometry(type("Told", (), {"preprocess": told.preprocess}))
    for shape in ((60, 81), (90, 50), (75, 75)):
        image = photograph(*shape).copy()
        want = made(image, return_tensors="pt", do_normalize=False, do_rescale=False)["pixel_values"][0].float()
        got = torch.from_numpy(resize_and_crop(image, geometry).astype("float32"))
        assert (got - want).abs().max() <= 1, (geometry, shape)


CONFIG, CROP = "config.json", "preprocessor_config.json"
WRONG = (
    (CONFIG, {"hidden_act": "laplace"}, "hidden_act is \"laplace\", expected gelu, gelu_python"),
    (CONFIG, {"hidden_act": ["gelu"]}, "hidden_act is [\"gelu\"], expected"),
    (CONFIG, {"use_swiglu_ffn": True}, "use_swiglu_ffn is true: SwiGLU MLPs are not read"),
    (CONFIG, {"per_layer_config": {"0": {}}}, "layers that differ are not read"),
    (CONFIG, {"pruned_heads": {"0": [1]}}, "heads that transformers pruned"),
    (CONFIG, {"quantization_config": {"bits": 8}}, "quantised weights are not read"),
    (CONFIG, {"auto_map": {"AutoModel": "x.Y"}}, "code of its own"),
    (CONFIG, {"is_causal": True}, "\"is_causal\" is a key not known here"),
    (CONFIG, {"problem_type": "regression"}, "problem_type is \"regression\""),
    (CONFIG, {"layer_norm_eps": float("nan")}, "layer_norm_eps is NaN, expected a number above 0"),
    (CONFIG, {"layer_norm_eps": "1e-6"}, "layer_norm_eps is \"1e-6\""),
    (CONFIG, {"hidden_size": -30}, "hidden_size is -30, expected a whole number 1 to"),
    (CONFIG, {"hidden_size": 10**9}, "hidden_size is 1000000000"),
    (CONFIG, {"hidden_size": [30]}, "hidden_size is [30]"),
    (CONFIG, {"hidden_size": None}, "hidden_size is null"),
    (CONFIG, {"num_hidden_layers": 1000}, "num_hidden_layers is 1000; the weights are of 3"),
    (CONFIG, {"num_hidden_layers": 3.5}, "num_hidden_layers is 3.5"),
    (CONFIG, {"num_attention_heads": 0}, "num_attention_heads is 0"),
    (CONFIG, {"image_size": 16384, "patch_size": 1}, "image_size) takes 16384x16384"),
    (CONFIG, {"image_size": [33, 33, 33]}, "image_size is [33, 33, 33]"),
    (CONFIG, {"patch_size": 34}, "patch_size is 34, expected at most image_size"),
    (CONFIG, {"intermediate_size": 2**40}, "intermediate_size is 1099511627776"),
    (CONFIG, {"qkv_bias": "yes"}, "qkv_bias is \"yes\", expected true or false"),
    (CONFIG, {"qkv_bias": False}, "is not part of this architecture"),
    (CONFIG, {"num_channels": 2}, "num_channels is 2, expected 1 or 3"),
    (CONFIG, {"id2label": {"0": "a", "2": "b"}}, "names of the classes 0 to 1; '1' is missing"),
    (CONFIG, {"id2label": [1, 2]}, "id2label is [1, 2]"),
    (CONFIG, {"id2label": {}}, "id2label is {}"),
    (CONFIG, {"model_type": {"a": 1}}, "model_type {'a': 1}"),
    (CONFIG, {"head_dim": 7}, "expected (105, 30)"),
    (CROP, {"do_normalize": "no"}, "do_normalize is \"no\", expected true or false"),
    (CROP, {"do_pad": True}, "padded images are not read"),
    (CROP, {"crop_pct": 0.9}, "\"crop_pct\" is a key not known here"),
    (CROP, {"rescale_factor": 0}, "rescale_factor is 0, expected a number above 0"),
    (CROP, {"rescale_factor": float("inf")}, "rescale_factor is Infinity"),
    (CROP, {"image_mean": [0.5, 0.5]}, "image_mean is [0.5, 0.5], expected 3 numbers"),
    (CROP, {"image_std": [0.5, 0.0, 0.5]}, "expected 3 numbers above 0"),
    (CROP, {"image_mean": [float("nan")] * 3}, "image_mean is [NaN, NaN, NaN], expected 3 numbers"),
    (CROP, {"resample": 1}, "resample is 1, expected 2 (bilinear) or 3 (bicubic)"),
    (CROP, {"resample": [2]}, "resample is [2], expected"),
    (CROP, {"image_processor_type": "CLIPImageProcessor"}, "expected ViTImageProcessor, DeiTImageProcessor"),
    (CROP, {"size": 224}, "makes images of 224x224 px, the network (config.json's image_size) takes 33x33"),
    (CROP, {"size": {"longest_edge": 33}}, "expected height and width, or shortest_edge, alone"),
    (CROP, {"size": {"height": 1e9, "width": 33}}, "expected sides of 1 to 16384 px"),
    (CROP, {"do_center_crop": True, "crop_size": 34}, "at most the resized image's 33x33"),
    (CROP, {"do_center_crop": True, "do_resize": False}, "do_resize is false, expected true"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("file", "change", "words"), WRONG, ids=[f"{file[0]}-{change}"[:60] for file, change, _ in WRONG]
)
def test_a_key_that_could_change_the_result_is_read_or_refused(file: str, change: dict, words: str, folder) -> None:
    path, _ = folder
    told = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(told | change))
    with pytest.raises(InputError) as error:
        huggingface.load(str(path))
    assert words in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 600, error.value


@pytest.mark.parametrize("file", [CONFIG, CROP])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 200_000, "is nested too deep"),
        ('{"a":' * 200_000, "is nested too deep"),
        ("[1, 2]", "is not a JSON object"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "is not JSON"),
        ("", "is not JSON"),
        ("\xff\xfe", "is not JSON"),
        (" " * (17 << 20), "is over 16 MB"),
    ],
    ids=["deep list", "deep object", "list", "digits", "empty", "no text", "huge"],
)
def test_hostile_json_is_one_line(file: str, text: str, words: str, folder, vhs) -> None:
    path, _ = folder
    (path / file).write_bytes(text.encode("latin1"))
    code, _, err = vhs("info", f"hf:{path}")
    assert code == 3 and words in err and err.count("\n") == 1 and "Traceback" not in err and len(err) < 600, err


def test_an_activation_and_a_missing_processor_are_seen(folder) -> None:
    """What was ignored: logits of another network, and pixels at a scale nobody had said."""
    path, net = folder
    config = json.loads((path / CONFIG).read_text())
    (path / CONFIG).write_text(json.dumps(config | {"hidden_act": "relu"}))
    for block in net.blocks:
        block.mlp.act = torch.nn.ReLU()
    pixels = torch.randn(2, 3, 33, 33)
    with torch.inference_mode():
        assert torch.allclose(huggingface.load(str(path)).net.eval()(pixels), net(pixels), atol=1e-6)
    (path / CROP).unlink()
    with pytest.raises(InputError, match="holds no preprocessor_config"):
        huggingface.load(str(path))


def test_two_tensors_for_one_part_are_refused(folder) -> None:
    path, net = folder
    state = on_disk(net)
    save_file(state | {"cls_classifier.weight": state["classifier.weight"].clone()}, path / "model.safetensors")
    with pytest.raises(InputError, match="are the same part of the network"):
        huggingface.load(str(path))


def test_training_does_not_begin_with_another_activation(folder) -> None:
    """--init keeps sizes alone, so a network that computes otherwise is refused."""
    from vhs.fitting import start

    path, _ = folder
    size = start.Size(33, 33, 3, tuple("abcdefg"))
    assert start.from_model(f"hf:{path}", size).weights is not None
    config = json.loads((path / CONFIG).read_text())
    for change, words in (({"hidden_act": "relu"}, "its activation is ReLU"), ({"layer_norm_eps": 0.1}, "its norms")):
        (path / CONFIG).write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=words):
            start.from_model(f"hf:{path}", size)
