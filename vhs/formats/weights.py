"""Plain weights: a state dict in safetensors, or pickled by torch and then read with `weights_only` or not at all."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhs.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net", "module")
"""Keys under which training scripts put the weights; averaged ones first, as timm takes them."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before the names."""


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, wrappers and prefixes taken off. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: is not there. Name a weights file.")
    state = _safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    for key in WRAPPERS:
        if isinstance(state.get(key), dict):
            state = state[key]
            break
    tensors = {str(name): value for name, value in state.items() if hasattr(value, "shape")}
    if not tensors:
        raise InputError(f"{path}: holds no tensors by name. A state dict was expected.")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def is_pickled(path: Path) -> bool:
    """Whether the file begins as torch.save writes it: a zip archive, or a pickle."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(4)
    except OSError:
        return False
    return start == b"PK\x03\x04" or start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def outputs(state: dict[str, Tensor], classifier: str) -> int | None:
    """How many classes the weights have, from the classifier's weight; None where it is not there."""
    weight = state.get(f"{classifier}.weight")
    return None if weight is None else int(weight.shape[0])


def fill(net: Any, state: dict[str, Tensor], where: str) -> None:
    """Load `state` strictly; a network on the meta device is put on the CPU once its shapes are known to fit.

    Raises InputError naming a tensor that is missing, unexpected or of another shape.
    """
    check(net, state, where)
    if any(tensor.is_meta for tensor in net.state_dict().values()):
        net.to_empty(device="cpu")
    net.load_state_dict(state, strict=True)


def check(net: Any, state: dict[str, Tensor], where: str) -> None:
    """Raises InputError naming a tensor that is missing, unexpected or of another shape."""
    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(
                f"{where}: {name} {tuple(tensor.shape)} is missing. Are these weights of this architecture?"
            )
        if state[name].shape != tensor.shape:
            raise InputError(f"{where}: {name} is {tuple(state[name].shape)}, expected {tuple(tensor.shape)}.")
    extra = sorted(set(state) - set(wanted))
    if extra:
        raise InputError(f"{where}: {extra[0]} is not part of this architecture.")


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: is no safetensors file: {error}.") from error


def _load_pickle(path: Path) -> dict[str, Any]:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's own unpickler raises many kinds on damaged files
        if "GLOBAL" in str(error) or "Unsupported class" in str(error):
            raise InputError(
                f"{path}: holds pickled objects, which could run code, not weights alone. Save its state_dict()."
            ) from error
        raise InputError(f"{path}: is no file of torch weights: {' '.join(str(error).split())[:120]}.") from error
    if not isinstance(state, dict):
        raise InputError(f"{path}: is a {type(state).__name__}; a state dict was expected.")
    return state
