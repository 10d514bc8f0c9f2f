"""Sets whose folders are not the model's classes: other names, several right ones, superclasses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo

from tests.conftest import CLASSES, toy_images
from tests.naive import ablated_logits
from vhs.batch import Batch
from vhs.errors import InputError, MismatchError, UsageError
from vhs.formats import references
from vhs.formats.shards import ShardSet
from vhs.measures.scoring import View, outcome
from vhs.measures.views import padded
from vhs.runs import conditions
from vhs.runs.cache import choose, decode
from vhs.sources import class_map, layouts
from vhs.sources.packing import Asked, parts

WNIDS = ImageNetInfo().label_names()
SUPERS = {"walks": ["dog", "ant"], "flies": ["bee"], "other": ["eel", "cat"]}


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def read(tmp_path: Path, text: str, name: str = "map.csv") -> class_map.ClassMap:
    (tmp_path / name).write_text(text)
    return class_map.read(str(tmp_path / name))


def test_forms_of_a_map(tmp_path: Path) -> None:
    want = {"banana": (WNIDS[954],), "crane": (WNIDS[134], WNIDS[517])}
    for name, text in (
        ("a.csv", f"folder,class\nbanana,{WNIDS[954]}\ncrane,134\ncrane,{WNIDS[517]}\n"),
        ("b.txt", "# two\nbanana 954\ncrane,134,517\n"),
        ("c.txt", f"banana\t{WNIDS[954]}\ncrane\t134\t517\n"),
        ("d.json", json.dumps({"banana": 954, "crane": [WNIDS[134], 517, 134]})),
    ):  # fmt: skip
        assert dict(read(tmp_path, text, name).classes) == want, name
    assert read(tmp_path, '{"three": "3"}', "e.json").classes == {"three": ("3",)}
    assert class_map.read("imagenet").classes["954"] == (WNIDS[954],)
    assert read(tmp_path, "a,b\n*,\n").others and read(tmp_path, '{"a": "b", "*": []}', "f.json").others


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "banana\n", "line 1: 'banana'; expected FOLDER,CLASS"),
        ("m.csv", "banana,1000\n", "banana: class 1000; whole numbers are ImageNet's indices, 0 to 999"),
        ("m.csv", "banana,n99999999\n", "class n99999999 is no WordNet id of ImageNet"),
        ("m.csv", "\n# nothing\n", "maps no folder"),
        ("m.csv", "a,b\n*,c\n", r"\* has classes"),
        ("m.json", "{", "is no JSON"),
        ("m.json", "[1]", "expected an object of folder: class"),
        ("m.json", '{"a": [true]}', "class True; expected a name"),
        ("m.json", '{"a": {"b": 1}}', "expected a name, a WordNet id or an index"),
    ],
)
def test_maps_that_are_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, name)


def test_a_missing_map_and_options_that_go_together(tmp_path: Path, vhs) -> None:
    picture(tmp_path / "src" / "a" / "x.png")
    for arguments, code, message in (
        (("--class-map", "no.csv"), 3, "no.csv: cannot be read: No such file"),
        (("--superclasses",), 2, "name the map, too"),
    ):
        found, _, err = vhs("shard", tmp_path / "src", "out", *arguments)
        assert found == code and message in err and err.count("\n") == 1
    assert not Path("out").exists()


def test_imagenet_d_has_domains_and_mapped_folders(tmp_path: Path) -> None:
    """{background,texture,material}/CLASS/*.png with classes in words."""
    places = ("background/banana", "background/vase", "material/vase", "texture/banana", "texture/vase")
    for number, place in enumerate(places):
        picture(tmp_path / "imagenet-d" / place / f"{number}.png", number)
    (tmp_path / "map.csv").write_text("banana,n07753592\nvase,n04522168\n")
    assert layouts.detect(str(tmp_path / "imagenet-d")) == "domains"
    made = parts(str(tmp_path / "imagenet-d"), tmp_path / "out", Asked(class_map=str(tmp_path / "map.csv")))
    (split,) = made.values()
    assert split.classes == ("n04522168", "n07753592") and list(split.labels) == [1, 0, 0, 1, 0]
    assert list(split.attributes["domain"]) == [place.partition("/")[0] for place in places]


def test_folders_of_wnids_need_no_map(tmp_path: Path) -> None:
    """ImageNet-E, -ES and Stylized-ImageNet keep ImageNet's folders, -ES with domains above them."""
    for place in (f"{WNIDS[0]}/ILSVRC2012_val_00000293.JPEG", f"{WNIDS[9]}/ILSVRC2012_val_00000351.JPEG"):
        picture(tmp_path / "stylized" / place)
        picture(tmp_path / "es" / "param_1" / place)
        picture(tmp_path / "es" / "param_2" / place)
    (split,) = layouts.read(str(tmp_path / "stylized"), layouts.detect(str(tmp_path / "stylized")))
    assert split.classes == (WNIDS[0], WNIDS[9]) and split.ids[0] == "ILSVRC2012_val_00000293"
    (split,) = layouts.read(str(tmp_path / "es"), layouts.detect(str(tmp_path / "es")))
    assert split.classes == (WNIDS[0], WNIDS[9]) and set(split.attributes["domain"]) == {"param_1", "param_2"}


def objectnet(folder: Path) -> Path:
    for number, name in enumerate(("alarm_clock", "air_freshener", "bicycle", "bicycle")):
        picture(folder / "images" / name / f"{number:04d}.png", number)
    return folder / "images"


def test_objectnet_is_right_if_any(tmp_path: Path, vhs) -> None:
    source = objectnet(tmp_path / "objectnet-1.0")
    two = {"alarm_clock": [409, 530], "bicycle": [444, 671]}
    Path("map.json").write_text(json.dumps(two))
    code, _, err = vhs("shard", source, "out", "--class-map", "map.json")
    assert code == 3 and "has no class for air_freshener of images. Add it, or leave such folders out" in err
    Path("map.json").write_text(json.dumps(two | {"*": []}))
    code, _, err = vhs("shard", source, "out", "--class-map", "map.json")
    assert code == 0, err
    data = ShardSet.open(Path("out"))
    assert data.manifest.samples == 3 and data.manifest.labels == 2
    assert data.manifest.classes == tuple(sorted(WNIDS[i] for i in (409, 530, 444, 671)))
    named = [{data.manifest.classes[label] for label in sample.labels} for sample in data.samples()]
    assert named == [{WNIDS[409], WNIDS[530]}, {WNIDS[444], WNIDS[671]}, {WNIDS[444], WNIDS[671]}]
    Path("map.json").write_text(json.dumps({"other": 1, "*": []}))
    code, _, err = vhs("shard", source, "none", "--class-map", "map.json")
    assert code == 4 and "has classes for none of the folders of images" in err


def toy_folders(folder: Path, owner: dict[str, str]) -> Path:
    """The toy val images in folders called by `owner` of their class."""
    images, labels = toy_images(85, 2)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / owner[CLASSES[label]] / f"val-{number:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place)
    return folder


def supers(tmp_path: Path, vhs) -> Path:
    owner = {name: own for own, names in SUPERS.items() for name in names}
    (tmp_path / "supers.json").write_text(json.dumps(SUPERS))
    source = toy_folders(tmp_path / "laion-toy", owner)
    code, _, err = vhs("shard", source, "supers", "--class-map", tmp_path / "supers.json", "--superclasses")
    assert code == 0, err
    return tmp_path / "supers"


def naive(logits: np.ndarray, labels: list[int]) -> dict[str, np.ndarray]:
    """As the authors of LAION-C do: softmax over all classes, mean over a superclass's, the largest mean."""
    found: dict[str, list] = {"right": [], "loss": []}
    for row, label in zip(logits.astype(np.float64), labels, strict=True):
        share = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        means = [np.mean([share[CLASSES.index(name)] for name in names]) for names in SUPERS.values()]
        found["right"].append(int(np.argmax(means)) == label)
        found["loss"].append(-np.log(means[label] / sum(means)))
    return {name: np.array(values) for name, values in found.items()}


def test_superclasses_are_scored_by_mean_probability(tmp_path: Path, vhs, toy_checkpoint: Path) -> None:
    folder = supers(tmp_path, vhs)
    data = ShardSet.open(folder)
    assert data.manifest.classes == ("walks", "flies", "other")
    assert data.manifest.members == {own: tuple(names) for own, names in SUPERS.items()}
    samples = choose(data)
    model = references.load(str(toy_checkpoint), torch.device("cpu")).model
    pixels = model.preprocess(decode(data, samples).images_NCHW)
    labels = [sample.label for sample in samples]
    with torch.inference_mode():
        intact = naive(model.net(pixels).numpy(), labels)
    code, _, err = vhs("evalshift", toy_checkpoint, "--data", folder, "--by", "label", "-o", "t.csv")
    assert code == 0, err
    row = pl.read_csv("t.csv").row(0, named=True)
    assert row["label_set"] == "laion-toy" and row["n_classes"] == 3 and row["n"] == 85
    assert row["n_correct"] == intact["right"].sum() and row["n_correct5"] == 85
    assert row["loss"] == pytest.approx(intact["loss"].mean(), abs=1e-6)
    code, _, err = vhs("ablate", toy_checkpoint, "--data", folder, "-o", "heads.csv")
    assert code == 0, err
    without = [naive(logits, labels) for logits in ablated_logits(model.net, pixels).numpy()]
    rows = pl.read_csv("heads.csv").filter(pl.col("unit") == "head")
    assert rows["n_correct"].to_list() == [found["right"].sum() for found in without]
    assert rows["n_lost"].to_list() == [(intact["right"] & ~found["right"]).sum() for found in without]
    assert np.allclose(rows["dloss"], [(found["loss"] - intact["loss"]).mean() for found in without], atol=1e-5)
    assert "its classes stand for 5 of a model" in vhs("info", folder)[1]
    for method in ("taylor", "direct"):
        code, _, err = vhs("ablate", toy_checkpoint, "--data", folder, "--method", method, "-o", f"{method}.csv")
        assert code == 0, err
    for arguments in (("specialize",), ("prune", "--shift", "contrast:3")):
        code, _, err = vhs(arguments[0], toy_checkpoint, "--data", folder, *arguments[1:])
        assert code == 0, err


def test_clean_images_of_the_models_classes_are_scored_by_a_shifts_superclasses(
    tmp_path: Path, vhs, toy_checkpoint: Path, toy_shards: Path
) -> None:
    """The toy images once by class and once by superclass: the group `classes=laion-toy` of clean is the shift's row."""
    folder = supers(tmp_path, vhs)
    code, _, err = vhs("evalshift", toy_checkpoint, "--data", toy_shards / "val", "--shift", folder, "-o", "t.csv")
    assert code == 0, err
    table = pl.read_csv("t.csv")
    assert table.select("shift", "group", "label_set").rows() == [
        ("clean", "all", "all"), ("clean", "classes=laion-toy", "laion-toy"), ("laion-toy", "all", "laion-toy"),
    ]  # fmt: skip
    clean, shifted = table.row(1, named=True), table.row(2, named=True)
    assert clean["n_correct"] == shifted["n_correct"] and clean["loss"] == pytest.approx(shifted["loss"], abs=1e-6)
    code, _, err = vhs("ablate", toy_checkpoint, "--data", toy_shards / "val", "--shift", folder, "-o", "a.csv")
    assert code == 0 and set(pl.read_csv("a.csv")["label_set"]) == {"all", "laion-toy"}, err
    code, _, err = vhs("plot", "a.csv", "-o", "a.png")
    assert code == 0, err


def test_a_tree_of_corruptions_with_superclasses(tmp_path: Path, vhs, toy_checkpoint: Path) -> None:
    """LAION-C: DISTORTION/SEVERITY/SUPERCLASS/IMAGE."""
    owner = {name: own for own, names in SUPERS.items() for name in names}
    for severity in ("1", "3"):
        toy_folders(tmp_path / "laion-c" / "mosaic" / severity, owner)
    (tmp_path / "m.json").write_text(json.dumps(SUPERS))
    code, _, err = vhs("shard", tmp_path / "laion-c", "lc", "--class-map", "m.json", "--superclasses")
    assert code == 0, err
    made = conditions.parse(["lc"])
    assert [item.name for item in made] == ["clean", "laion-c/mosaic:1", "laion-c/mosaic:3"]
    arguments = ("evalshift", toy_checkpoint, "--data", "lc/mosaic/1", "--shift", "lc/mosaic/3", "-o", "t.csv")
    assert vhs(*arguments)[0] == 0 and set(pl.read_csv("t.csv")["label_set"]) == {"laion-c"}


def test_answers_and_losses_of_superclasses_of_unlike_sizes() -> None:
    """Three likely classes do not outweigh one that is likelier; a mean, not a sum."""
    logits = torch.log(torch.tensor([[0.2, 0.2, 0.2, 0.3, 0.1], [0.35, 0.35, 0.0001, 0.25, 0.0499]]))
    view = View("all", "s", torch.tensor([0, 1]), members_SE=padded([[0, 1, 2], [3]]))
    none = torch.zeros(2, dtype=torch.int64)
    batch = Batch(logits, torch.tensor([1, 0]), none, none, none[None], 2)
    scores, labels, _ = view.of(logits, batch)
    found = outcome(scores, labels)
    assert found.answer.tolist() == [1, 1] and found.correct.tolist() == [True, False]
    means = np.array([[0.2, 0.3], [0.7001 / 3, 0.25]])
    assert np.allclose(found.loss, -np.log([0.3 / 0.5, means[1, 0] / means[1].sum()]), atol=1e-6)
    assert view.answers(5) == 2
    given = view.given(torch.arange(10.0).view(2, 5))
    assert given.tolist() == [[1.0, 3.0], [6.0, 8.0]]


def test_a_superclass_may_be_called_as_a_class_of_another() -> None:
    """`cat` is a superclass and, for the model, a class that belongs to `other`."""
    from tests.networks import MODELS
    from vhs.measures.views import grouped

    model = MODELS["replay"]()
    a, b, c, *_ = model.classes
    members = {b: (a,), "other": (b, c)}
    assert grouped("all", "s", members, (b, "other"), model).places_C.tolist() == [0, 1]
    clean = grouped("classes=s", "s", members, model.classes, model)
    assert clean.places_C.tolist() == [0, 1, 1] + [-1] * (len(model.classes) - 3)


def test_what_superclasses_cannot_be(tmp_path: Path, vhs, toy_checkpoint: Path) -> None:
    owner = {name: own for own, names in SUPERS.items() for name in names}
    source = toy_folders(tmp_path / "src", owner)
    for told, code, message in (
        (SUPERS | {"flies": ["bee", "ant"]}, 3, "ant belongs to walks and to flies; expected one superclass"),
        (SUPERS | {"flies": []}, 3, "flies has no classes; a superclass stands for one or more"),
        ({"walks": ["dog"]}, 3, "has no class for flies of src"),
    ):
        Path("m.json").write_text(json.dumps(told))
        found, _, err = vhs("shard", source, "out", "--class-map", "m.json", "--superclasses")
        assert found == code and message in err, err
    Path("m.json").write_text(json.dumps(SUPERS | {"flies": ["bee", "yak"]}))
    assert vhs("shard", source, "out", "--class-map", "m.json", "--superclasses")[0] == 0
    code, _, err = vhs("evalshift", toy_checkpoint, "--data", "out")
    assert code == 4 and "of which yak are not the model's" in err


def test_classes_of_a_base_and_numbers_of_imagenet(tmp_path: Path, vhs, toy_shards: Path) -> None:
    source = toy_folders(tmp_path / "src", {name: name.upper() for name in CLASSES})
    Path("m.csv").write_text("".join(f"{name.upper()},{name}\n" for name in CLASSES))
    code, _, err = vhs("shard", source, "out", "--class-map", "m.csv", "--base", toy_shards / "val")
    assert code == 0, err
    assert ShardSet.open(Path("out")).manifest.classes == CLASSES
    Path("m.csv").write_text("".join(f"{name.upper()},{name}\n" for name in CLASSES).replace("EEL,eel", "EEL,yak"))
    code, _, err = vhs("shard", source, "two", "--class-map", "m.csv", "--base", toy_shards / "val")
    assert code == 4 and "class yak is not among the 5" in err
    for number in (0, 7):
        picture(tmp_path / "numbers" / str(number) / f"{number}.png")
    assert vhs("shard", tmp_path / "numbers", "three", "--class-map", "imagenet")[0] == 0
    assert ShardSet.open(Path("three")).manifest.classes == (WNIDS[0], WNIDS[7])


def test_imagenet_of_the_hub_and_imagenet_hard(tmp_path: Path, vhs) -> None:
    """1,000 names such as `tench, Tinca tinca`; labels by number, several an image, in the one split `test`."""
    from tests.hub import hub

    hub(tmp_path / "in1k" / "data", [f"name, {number}" for number in range(1000)], {"validation": [3, 999]})
    hub(tmp_path / "hard" / "data", None, {"test-00000-of-00001": [[7, 2], [998], [2]]})
    assert vhs("shard", tmp_path / "in1k", "a", "--class-map", "imagenet")[0] == 0
    data = ShardSet.open(Path("a"))
    assert [data.manifest.classes[sample.label] for sample in data.samples()] == [WNIDS[3], WNIDS[999]]
    code, _, err = vhs("shard", tmp_path / "hard", "b", "--split", "val", "--class-map", "imagenet")
    assert code == 0, err
    data = ShardSet.open(Path("b"))
    named = [[data.manifest.classes[label] for label in sample.labels] for sample in data.samples()]
    assert named == [[WNIDS[7], WNIDS[2]], [WNIDS[998]], [WNIDS[2]]]
    assert data.manifest.split == "val" and data.manifest.classes[:8] == tuple(WNIDS[:8])


def test_superclasses_of_a_base_must_be_the_same(tmp_path: Path, vhs) -> None:
    folder = supers(tmp_path, vhs)
    again = ("shard", tmp_path / "laion-toy", "again", "--superclasses", "--base", folder, "--class-map")
    assert vhs(*again, "supers.json")[0] == 0
    assert ShardSet.open(Path("again")).manifest.members == ShardSet.open(folder).manifest.members
    Path("other.json").write_text(json.dumps(SUPERS | {"flies": ["bee", "fly"]}))
    code, _, err = vhs(*again, "other.json")
    assert code == 4 and "its superclasses are not those of" in err


def test_targets_and_several_labels_take_no_map() -> None:
    from dataclasses import replace

    from vhs.formats.split import from_arrays, with_labels

    split = from_arrays(
        np.zeros((2, 8, 8), np.uint8), np.array([0, 1]), name="x", split="val", classes="ab", prefix="v"
    )
    found = class_map.ClassMap("m", {"a": ("x",), "b": ("y", "z")})
    with pytest.raises(UsageError, match="has targets, no classes"):
        class_map.applied([replace(split, targets={"t": [0.0, 1.0]})], found, superclasses=False)
    several = with_labels(split, [(0, 1), (1,)])
    (mapped,) = class_map.applied([several], found, superclasses=False)
    assert mapped.classes == ("x", "y", "z") and mapped.several == ((0, 1, 2), (1, 2))
    with pytest.raises(UsageError, match="has several right labels"):
        class_map.applied([several], found, superclasses=True)
    with pytest.raises(MismatchError):
        class_map.applied([split], class_map.ClassMap("m", {"c": ("x",)}, others=True), superclasses=False)
