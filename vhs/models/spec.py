"""The architecture of a vision transformer, in the numbers a checkpoint records."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from vhs.errors import InputError, UsageError, choices
from vhs.models import arguments

POOLS = ("token", "avg")
FLAGS = ("layer_scale", "patch_norm", "spt", "lsa", "last_residual", "qk_norm", "pre_norm", "distilled")
LATER = ("qk_norm", "pre_norm", "distilled", "kept")
"""Fields that came after the first checkpoints: written only where they are set."""
Kept = tuple[tuple[int, ...], ...]
"""Of a pruned model for each layer the numbers of the heads that it kept."""
LIMITS = {
    "depth": 1024, "dim": 65536, "heads": 4096, "head_width": 65536, "hidden": 1 << 20, "patch": 4096,
    "height": 16384, "width": 16384, "channels": 3, "classes": 1 << 20, "registers": 4096,
}  # fmt: skip
"""The largest value believed of each size read from a file; beyond it the header is not to be trusted."""
LARGEST_TIMM = 2048
"""Side of an image for timm's other architectures, whose tables of positions no tensor of a file bounds."""


@dataclass(frozen=True, kw_only=True)
class ViTSpec:
    """Sizes of a plain ViT; pixels for `patch`, `height` and `width`, features for the rest.

    heads: of every layer, or of each; kept: what those of a pruned model were called. head_width: features of one head;
    heads * head_width need not equal dim. hidden: width of the MLP.
    pool: "token" reads the class token, "avg" averages the patches. layer_scale: whether there is LayerScale;
    patch_norm, spt, lsa, last_residual: as in models/parts. qk_norm: LayerNorm of every head's queries and keys;
    pre_norm: LayerNorm before the first block, and patches without a bias (as in CLIP); distilled: a distillation token
    with a classifier of its own (DeiT), whose answers are averaged with the class token's.
    """

    depth: int
    dim: int
    heads: int | tuple[int, ...]
    head_width: int
    hidden: int
    patch: int
    height: int
    width: int
    channels: int
    classes: int
    registers: int = 0
    pool: str = "token"
    layer_scale: bool = False
    patch_norm: bool = False
    spt: bool = False
    lsa: bool = False
    last_residual: bool = True
    qk_norm: bool = False
    pre_norm: bool = False
    distilled: bool = False
    kept: Kept = ()

    def __post_init__(self) -> None:
        if len(self.heads_by_layer) != self.depth:
            raise UsageError(f"heads of {len(self.heads_by_layer)} layers, the model has {self.depth}.")
        if self.kept and self.heads_by_layer != tuple(map(len, self.kept)):
            raise UsageError("heads and kept tell of different numbers of heads.")
        if self.height % self.patch or self.width % self.patch:
            raise UsageError(
                f"image {self.height}x{self.width} is not a whole number of {self.patch} px patches. "
                f"Choose a --patch that divides both sides."
            )
        if self.distilled and (self.pool != "token" or self.registers):
            raise UsageError("a distillation token stands beside a class token, with pool 'token' and no registers.")

    @property
    def stock(self) -> bool:
        """Whether timm builds it by name: the heads share the model's width evenly, and all parts are timm's."""
        other = self.patch_norm or self.spt or self.lsa or not self.last_residual or self.distilled or self.kept
        return isinstance(self.heads, int) and self.heads * self.head_width == self.dim and not other

    @property
    def heads_by_layer(self) -> tuple[int, ...]:
        """How many heads each layer has."""
        return (self.heads,) * self.depth if isinstance(self.heads, int) else self.heads

    @property
    def most_heads(self) -> int:
        """How many the layer with most of them has, at least 1: the network is built of so many first."""
        return max((1, *self.heads_by_layer))

    @property
    def heads_in_words(self) -> str:
        """`6`, or `3 to 6`."""
        least, most = min(self.heads_by_layer), max(self.heads_by_layer)
        return f"{most}" if least == most else f"{least} to {most}"

    @property
    def tokens(self) -> int:
        """Tokens in the sequence: class token, registers and patches."""
        patches = (self.height // self.patch) * (self.width // self.patch)
        return patches + self.registers + (self.pool == "token") + self.distilled

    def timm_kwargs(self) -> dict[str, Any]:
        """Arguments for timm's VisionTransformer, or for create_model with the name "vit_tiny_patch16_224"."""
        return {
            "img_size": [self.height, self.width],
            "patch_size": self.patch,
            "in_chans": self.channels,
            "num_classes": self.classes,
            "embed_dim": self.dim,
            "depth": self.depth,
            "num_heads": self.most_heads,
            "mlp_ratio": self._mlp_ratio(),
            "reg_tokens": self.registers,
            "class_token": self.pool == "token",
            "global_pool": self.pool,
        } | ({"init_values": 1e-5} if self.layer_scale else {}) | {
            name: True for name in ("qk_norm", "pre_norm") if getattr(self, name)
        }  # fmt: skip

    def _mlp_ratio(self) -> float:
        """A ratio from which timm's int(dim * ratio) gives `hidden` back, whatever the rounding."""
        ratio = self.hidden / self.dim
        return ratio if int(self.dim * ratio) == self.hidden else (self.hidden + 0.5) / self.dim

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value or name not in LATER}

    @classmethod
    def from_json(cls, data: Any, where: str) -> ViTSpec:
        """A spec from untrusted JSON; raises InputError naming the field, before anything is built."""
        if not isinstance(data, dict):
            raise InputError(f"{where}: the architecture is not an object. Is this a vhs checkpoint?")
        names = {field.name for field in fields(cls)}
        needed = {field.name for field in fields(cls) if field.default is MISSING}
        if not needed <= set(data) <= names:
            odd = sorted(set(data) - names | needed - set(data))
            raise InputError(f"{where}: architecture fields missing or unknown: {', '.join(map(str, odd))}.")
        data = data | {name: _tuples(data[name]) for name in ("heads", "kept") if name in data}
        _check_kept(data.get("kept", ()), where)
        for name, limit in LIMITS.items():
            value, least = data.get(name, 0), int(name != "registers")
            if name == "heads" and isinstance(value, tuple):
                value = next((heads for heads in value if type(heads) is not int or not 0 <= heads <= limit), 1)
            if type(value) is not int or not least <= value <= limit:
                raise InputError(f"{where}: {name} is {value!r}, expected a whole number {least} to {limit}.")
        if data.get("pool", "token") not in POOLS:
            raise InputError(f"{where}: pool is {data['pool']!r}, expected {choices(POOLS)}.")
        for name in FLAGS:
            if type(data.get(name, True)) is not bool:
                raise InputError(f"{where}: {name} is {data[name]!r}, expected true or false.")
        try:
            return cls(**data)
        except UsageError as error:
            raise InputError(f"{where}: {error}") from error

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every tensor of the model, computed from the sizes alone."""
        shapes: dict[str, tuple[int, ...]] = {
            "pos_embed": (1, self.tokens, self.dim),
            **({} if self.pre_norm else {"patch_embed.proj.bias": (self.dim,)}),
            "head.weight": (self.classes, self.dim),
            "head.bias": (self.classes,),
        }
        shapes |= self._embedding_shapes()
        if self.distilled:
            shapes |= {"dist_token": (1, 1, self.dim)} | {
                f"head_dist.{name}": shapes[f"head.{name}"] for name in ("weight", "bias")
            }  # fmt: skip
        if self.pool == "token":
            shapes["cls_token"] = (1, 1, self.dim)
        if self.registers:
            shapes["reg_token"] = (1, self.registers, self.dim)
        norm = "norm" if self.pool == "token" else "fc_norm"
        shapes |= {f"{norm}.weight": (self.dim,), f"{norm}.bias": (self.dim,)}
        for layer, heads in enumerate(self.heads_by_layer):
            shapes |= {f"blocks.{layer}.{name}": shape for name, shape in self._block_shapes(heads).items()}
        return shapes

    def _embedding_shapes(self) -> dict[str, tuple[int, ...]]:
        if not self.spt and not self.patch_norm:
            return {"patch_embed.proj.weight": (self.dim, self.channels, self.patch, self.patch)} | (
                {"norm_pre.weight": (self.dim,), "norm_pre.bias": (self.dim,)} if self.pre_norm else {})  # fmt: skip
        width = (5 if self.spt else 1) * self.channels * self.patch**2
        norms = {"norm": width} | ({} if self.spt else {"norm_after": self.dim})
        return {"patch_embed.proj.weight": (self.dim, width)} | {
            f"patch_embed.{norm}.{name}": (size,) for norm, size in norms.items() for name in ("weight", "bias")
        }

    def _block_shapes(self, heads: int) -> dict[str, tuple[int, ...]]:
        inner = heads * self.head_width
        scales: dict[str, tuple[int, ...]] = {
            f"{name}.gamma": (self.dim,) for name in ("ls1", "ls2") if self.layer_scale
        }
        if self.qk_norm:
            scales |= {f"attn.{norm}.{name}": (self.head_width,) for norm in ("q_norm", "k_norm")
                       for name in ("weight", "bias")}  # fmt: skip
        if self.lsa:
            scales["attn.q_norm.scale"] = (heads, 1, 1)
        return scales | {
            "norm1.weight": (self.dim,),
            "norm1.bias": (self.dim,),
            "attn.qkv.weight": (3 * inner, self.dim),
            "attn.qkv.bias": (3 * inner,),
            "attn.proj.weight": (self.dim, inner),
            "attn.proj.bias": (self.dim,),
            "norm2.weight": (self.dim,),
            "norm2.bias": (self.dim,),
            "mlp.fc1.weight": (self.hidden, self.dim),
            "mlp.fc1.bias": (self.hidden,),
            "mlp.fc2.weight": (self.dim, self.hidden),
            "mlp.fc2.bias": (self.dim,),
        }


@dataclass(frozen=True, kw_only=True)
class TimmSpec:
    """Any other timm architecture by name; pixels for height and width. arguments: others, as in models/arguments;
    kept: of a pruned model for each attention module the numbers of its heads."""

    name: str
    height: int
    width: int
    channels: int
    classes: int
    arguments: str = ""
    kept: Kept = ()

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value or name not in LATER}

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> TimmSpec:
        """A spec from untrusted JSON; raises InputError naming the field, before anything is built."""
        import timm

        names = {field.name for field in fields(cls)}
        data = data | ({"kept": _tuples(data["kept"])} if "kept" in data else {})
        if set(data) | {"arguments", "kept"} != names:
            raise InputError(
                f"{where}: architecture fields are {', '.join(map(str, data))}; expected {', '.join(names)}."
            )
        limits = LIMITS | {"height": LARGEST_TIMM, "width": LARGEST_TIMM}
        _check_kept(data.get("kept", ()), where)
        for name in names - {"name", "arguments", "kept"}:
            value = data[name]
            if type(value) is not int or not 1 <= value <= limits[name]:
                raise InputError(f"{where}: {name} is {value!r}, expected a whole number 1 to {limits[name]}.")
        known = timm.list_pretrained() if "." in str(data["name"]) else timm.list_models()
        if data["name"] not in known:
            raise InputError(f"{where}: timm knows no architecture {data['name']!r:.60}.")
        _check_arguments(data.get("arguments", ""), where)
        return cls(**data)


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, whatever they hold."""
    return tuple(_tuples(part) for part in value) if isinstance(value, (list, tuple)) else value


def _check_kept(kept: Any, where: str) -> None:
    sound = isinstance(kept, tuple) and len(kept) <= LIMITS["depth"] and all(
        isinstance(layer, tuple) and all(type(head) is int and 0 <= head < LIMITS["heads"] for head in layer)
        and list(layer) == sorted(set(layer)) for layer in kept
    )  # fmt: skip
    if not sound:
        raise InputError(f"{where}: kept is damaged; expected for each layer the numbers of its heads, ascending.")


def _check_arguments(text: object, where: str) -> None:
    try:
        if not isinstance(text, str) or set(arguments.SPEC) & set(arguments.parse(text)):
            raise UsageError(f"arguments are {text!r:.60}, expected text such as depth=3,patch_size=7")
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error


Spec = ViTSpec | TimmSpec


def spec_from_json(data: Any, where: str) -> Spec:
    """A plain ViT's sizes, or a timm architecture where the JSON names one."""
    if isinstance(data, dict) and "name" in data:
        return TimmSpec.from_json(data, where)
    return ViTSpec.from_json(data, where)
