"""preprocessor_config.json of a Hugging Face ViT, DeiT or DINOv2 (whose processor is BiT's) as our Preprocess.

transformers resizes, crops, multiplies by `rescale_factor`, subtracts `image_mean` and divides by `image_std`, each if
its `do_…` says so. Defaults are those of its image_processing_vit.py, …_deit.py and …_bit.py.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vhs.errors import InputError
from vhs.formats.hf_config import Config
from vhs.formats.keys import Keys
from vhs.models.model import Preprocess
from vhs.models.spec import LIMITS

READ = (
    "image_processor_type", "feature_extractor_type", "do_resize", "size", "default_to_square", "resample",
    "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std",
)  # fmt: skip
HARMLESS = (
    "do_convert_rgb", "pad_size", "data_format", "input_data_format", "device", "return_tensors", "disable_grouping",
    "image_seq_length", "processor_class", "_processor_class", "_valid_processor_keys",
)  # fmt: skip
REFUSED = {"do_pad": "padded images are not read", "auto_map": "it may be code of its own, which is not run"}
ENDINGS = ("ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor")
FILTERS = {2: "bilinear", 3: "bicubic"}
HALF = (0.5, 0.5, 0.5)


class Defaults(NamedTuple):
    """What a class of processors does where its file is silent."""

    resample: int
    size: int
    crops: bool
    squares: bool
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF


CLASSES = {
    "ViT": Defaults(2, 224, False, True),
    "DeiT": Defaults(3, 256, True, True),
    "Bit": Defaults(
        3, 224, True, False, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
}  # fmt: skip
OF_KIND = {"vit": "ViT", "deit": "DeiT", "dinov2": "Bit"}


def read(keys: Keys, config: Config) -> Preprocess:
    """Raises InputError for what is wrong, not read here, or does not fit the network."""
    keys.known(READ, HARMLESS, REFUSED)
    keys = keys.without_nulls()
    plain = CLASSES[_kind(keys, config)]
    size, squash, share = _geometry(keys, plain, config)
    mean, std = _statistics(keys, plain, config.channels)
    chosen = keys.whole("resample", plain.resample, 5, 0)
    if chosen not in FILTERS:
        raise keys.wrong("resample", "2 (bilinear) or 3 (bicubic)")
    return Preprocess(
        height=size[0], width=size[1], channels=config.channels, mean=mean, std=std, crop_share=share, squash=squash,
        interpolation=FILTERS[chosen], floored=True,
    )  # fmt: skip


def _kind(keys: Keys, config: Config) -> str:
    name = keys.values.get("image_processor_type", keys.values.get("feature_extractor_type"))
    if name is None:
        return OF_KIND[config.kind]
    found = next((kind for kind in CLASSES if name in [f"{kind}{ending}" for ending in ENDINGS]), None)
    if found is None:
        raise keys.wrong("image_processor_type", f"{', '.join(f'{kind}ImageProcessor' for kind in CLASSES)}")
    return found


def _statistics(keys: Keys, plain: Defaults, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation on the scale 0 to 1, so that (x / 255 - mean) / std is what transformers makes of x."""
    factor = keys.number("rescale_factor", 1 / 255, 1e6) if keys.flag("do_rescale", True) else 1.0
    scale = 1.0 if math.isclose(factor * 255, 1, rel_tol=1e-9) else factor * 255
    mean, std = (0.0,) * channels, (1.0,) * channels
    if keys.flag("do_normalize", True):
        mean = keys.levels("image_mean", plain.mean[:channels], channels, positive=False)
        std = keys.levels("image_std", plain.std[:channels], channels, positive=True)
    return tuple(x / scale for x in mean), tuple(x / scale for x in std)


def _geometry(keys: Keys, plain: Defaults, config: Config) -> tuple[tuple[int, int], bool, float]:
    """(height and width that come out, whether both sides are resized, the crop's share of the resized side)."""
    crops = keys.flag("do_center_crop", plain.crops)
    if not keys.flag("do_resize", True):
        if crops:
            raise keys.wrong("do_resize", "true, where do_center_crop is: images of any size are resized here")
        _check_fits(keys, config.image, config)
        return config.image, False, 1.0
    size, squash = _size(keys, "size", plain.size, keys.flag("default_to_square", plain.squares))
    out = _size(keys, "crop_size", 224, True)[0] if crops else size
    if out[0] > size[0] or out[1] > size[1]:
        raise keys.wrong("crop_size", f"at most the resized image's {size[0]}x{size[1]}, so that nothing is padded")
    if out[0] * size[1] != out[1] * size[0]:
        raise keys.wrong("crop_size", f"the shape of the resized image, {size[0]}x{size[1]}")
    _check_fits(keys, out, config)
    return out, squash, math.nextafter(out[0] / size[0], 0) if out != size else 1.0


def _size(keys: Keys, name: str, default: int, square: bool) -> tuple[tuple[int, int], bool]:
    """(height and width, True) of a size for both sides; of one for the shorter side that side twice, and False."""
    value = keys.values.get(name, default if square else {"shortest_edge": default})
    if not isinstance(value, dict):
        return keys.sides(name, default, LIMITS["height"]), square or isinstance(value, list)
    sides = tuple(value.get(side) for side in ("height", "width"))
    edge = value.get("shortest_edge")
    if set(value) == {"shortest_edge"}:
        sides = (edge, edge)
    elif set(value) != {"height", "width"}:
        raise keys.wrong(name, "height and width, or shortest_edge, alone")
    if not all(type(side) is int and 1 <= side <= LIMITS["height"] for side in sides):
        raise keys.wrong(name, f"sides of 1 to {LIMITS['height']} px")
    return (sides[0], sides[1]), "shortest_edge" not in value  # type: ignore[return-value]


def _check_fits(keys: Keys, out: tuple[int, int], config: Config) -> None:
    """DINOv2's positions are resampled to any square; the others take images of their own size alone."""
    made, own = (f"{height}x{width}" for height, width in (out, config.image))
    if out == config.image and (config.kind != "dinov2" or out[0] == out[1]):
        return
    if config.kind != "dinov2":
        raise InputError(f"{keys.path}: makes images of {made} px, the network (config.json's image_size) takes {own}.")
    if out[0] != out[1] or config.image[0] != config.image[1] or config.patch[0] != config.patch[1]:
        raise InputError(
            f"{keys.path}: makes images of {made} px of a DINOv2 trained at {own}; its positions are resampled from "
            f"square to square only."
        )
