"""config.json of a Hugging Face ViT, DeiT or DINOv2: each key is read, cannot matter, or is refused.

Defaults and meanings are those of transformers' configuration_vit.py, …_deit.py, …_dinov2.py and
configuration_utils.py; docs/formats.md lists the keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from vhs.errors import InputError, choices
from vhs.formats.keys import Keys
from vhs.models.spec import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

KINDS = ("vit", "deit", "dinov2")
READ = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "head_dim", "intermediate_size",
    "mlp_ratio", "hidden_act", "layer_norm_eps", "image_size", "patch_size", "num_channels", "qkv_bias", "id2label",
    "num_labels", "problem_type",
)  # fmt: skip
HARMLESS = (
    # of training and of first weights
    "hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate", "initializer_range", "layerscale_value",
    "gradient_checkpointing",
    # of what a classifier does not have: pooler, mask token, decoder, feature maps
    "pooler_output_size", "pooler_act", "use_mask_token", "encoder_stride", "apply_layernorm", "reshape_hidden_states",
    "stage_names", "out_features", "out_indices", "_out_features", "_out_indices",
    # of what is returned beside the logits, and by which kernel they are computed
    "output_hidden_states", "output_attentions", "return_dict", "use_return_dict", "tie_last_hidden_states",
    "attn_implementation", "_attn_implementation", "_attn_implementation_autoset", "experts_implementation",
    "_experts_implementation", "torchscript", "chunk_size_feed_forward", "tf_legacy_loss",
    # of how weights are stored; they are computed with in float32
    "dtype", "torch_dtype", "use_bfloat16",
    # names and dates
    "architectures", "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "label2id",
    "finetuning_task", "task_specific_params",
    # of text and decoders, which older versions wrote into every file
    "is_encoder_decoder", "is_decoder", "add_cross_attention", "cross_attention_hidden_size", "tie_encoder_decoder",
    "tie_word_embeddings", "tokenizer_class", "prefix", "bos_token_id", "pad_token_id", "eos_token_id", "sep_token_id",
    "decoder_start_token_id", "max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups",
    "diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
    "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
)  # fmt: skip
REFUSED = {
    "use_swiglu_ffn": "SwiGLU MLPs are not read",
    "per_layer_config": "layers that differ are not read",
    "pruned_heads": "heads that transformers pruned are not read",
    "quantization_config": "quantised weights are not read",
    "auto_map": "the network may be code of its own, which is not run",
}
"""Why, by key; null, false and empty values are passed."""
ACTIVATIONS = (
    "gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh",
    "quick_gelu", "relu", "relu6", "leaky_relu", "silu", "swish", "mish", "tanh", "sigmoid", "hardswish",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """A classifier's sizes: px for `image` and `patch` (height, width), features for the rest."""

    kind: str
    dim: int
    depth: int
    heads: int
    head_width: int
    hidden: int
    image: tuple[int, int]
    patch: tuple[int, int]
    channels: int
    activation: str
    eps: float
    qkv_bias: bool
    classes: tuple[str, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.image[0] // self.patch[0], self.image[1] // self.patch[1]


def read(keys: Keys) -> Config:
    """Raises InputError for what is wrong, not read here, or not known."""
    kind = keys.values.get("model_type")
    if kind not in KINDS:
        raise InputError(f"{keys.path}: model_type {kind!r:.60}; read are {', '.join(KINDS)}.")
    keys.known(READ, HARMLESS, REFUSED)
    dim = keys.whole("hidden_size", 768, LIMITS["dim"])
    heads = keys.whole("num_attention_heads", 12, min(LIMITS["heads"], dim))
    config = Config(
        kind=kind, dim=dim, heads=heads, depth=keys.whole("num_hidden_layers", 12, LIMITS["depth"]),
        head_width=keys.whole("head_dim", dim // heads, LIMITS["head_width"]), hidden=_hidden(keys, kind, dim),
        image=keys.sides("image_size", 224, LIMITS["height"]),
        patch=keys.sides("patch_size", 14 if kind == "dinov2" else 16, LIMITS["patch"]),
        channels=keys.whole("num_channels", 3, LIMITS["channels"]), activation=_activation(keys),
        eps=keys.number("layer_norm_eps", 1e-6 if kind == "dinov2" else 1e-12, 1.0),
        qkv_bias=keys.flag("qkv_bias", True), classes=_classes(keys),
    )  # fmt: skip
    if config.channels == 2:
        raise keys.wrong("num_channels", "1 or 3")
    if not all(config.grid):
        raise keys.wrong("patch_size", f"at most image_size, {config.image[0]}x{config.image[1]}")
    if keys.values.get("problem_type") == "regression":
        raise keys.wrong("problem_type", "a classifier's: what a regression's outputs are called is not told here")
    return config


def activation(name: str) -> Callable[[], nn.Module]:
    """What makes the module that transformers calls by this name, one of ACTIVATIONS."""
    from timm.layers import QuickGELU
    from torch import nn

    if name.startswith("gelu"):
        return nn.GELU if name in ("gelu", "gelu_python") else partial(nn.GELU, approximate="tanh")
    return {
        "quick_gelu": QuickGELU, "relu": nn.ReLU, "relu6": nn.ReLU6, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU,
        "swish": nn.SiLU, "mish": nn.Mish, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "hardswish": nn.Hardswish,
    }[name]  # fmt: skip


def _activation(keys: Keys) -> str:
    name = keys.values.get("hidden_act", "gelu")
    if name not in ACTIVATIONS:
        raise keys.wrong("hidden_act", choices(ACTIVATIONS))
    return name


def _hidden(keys: Keys, kind: str, dim: int) -> int:
    """Width of the MLP."""
    if kind != "dinov2":
        return keys.whole("intermediate_size", 3072, LIMITS["hidden"])
    hidden = int(dim * keys.number("mlp_ratio", 4, 64))
    if not 1 <= hidden <= LIMITS["hidden"]:
        raise keys.wrong("mlp_ratio", f"an MLP of 1 to {LIMITS['hidden']} features")
    return hidden


def _classes(keys: Keys) -> tuple[str, ...]:
    """Names in label order; the numbers where transformers put its own LABEL_0 and on."""
    labels = keys.values.get("id2label")
    if labels is None:
        return tuple(str(index) for index in range(keys.whole("num_labels", 2, LIMITS["classes"])))
    if not isinstance(labels, dict) or not 1 <= len(labels) <= LIMITS["classes"]:
        raise keys.wrong("id2label", "an object with a name for each class")
    try:
        classes = tuple(labels[str(index)] for index in range(len(labels)))
    except KeyError as error:
        raise keys.wrong("id2label", f"names of the classes 0 to {len(labels) - 1}; {error} is missing") from error
    if not all(isinstance(name, str) for name in classes):
        raise keys.wrong("id2label", "names as text")
    plain = classes == tuple(f"LABEL_{index}" for index in range(len(classes)))
    return tuple(str(index) for index in range(len(classes))) if plain else classes
