"""The machine and what is installed on it: for the fingerprint of a run, and for reports of faults."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = (
    "vhs-heads", "torch", "torchvision", "timm", "numpy", "scipy", "polars", "matplotlib", "pillow", "simplejpeg",
    "safetensors", "huggingface-hub", "typer", "rich",
)  # fmt: skip
VARIABLES = ("VHS_SHARDS", "VHS_FROST", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "WORLD_SIZE", "HF_HUB_OFFLINE")


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    from vhs import __version__

    names = {"vhs": "vhs-heads", "torch": "torch", "timm": "timm", "numpy": "numpy", "pillow": "pillow"}
    return {name: _version(distribution, __version__) for name, distribution in names.items()}


def memory_bytes() -> int:
    """Physical memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def rows() -> list[tuple[str, str]]:
    """(what, how it is) of this process and machine; imports torch."""
    import torch

    cores = len(os.sched_getaffinity(0))
    memory = memory_bytes() / 2**30
    found = [
        ("python", f"{platform.python_version()} {sys.implementation.name}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}, {' '.join(platform.libc_ver())}"),
        ("processor", f"{_processor()}, {cores} cores usable, {torch.get_num_threads()} threads, {memory:.0f} GiB"),
    ]
    found += [(name, _version(name)) for name in DISTRIBUTIONS]
    found += [("CUDA", f"{torch.version.cuda or 'not in this build'}, {_devices()}")]
    return found + [(name, os.environ[name]) for name in VARIABLES if name in os.environ]


def _version(distribution: str, otherwise: str = "not installed") -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return otherwise


def _processor() -> str:
    """The name and widest vector instructions, which decide the last bits of products."""
    try:
        with open("/proc/cpuinfo") as file:
            fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return platform.processor() or "unknown"
    values = {name.strip(): value.strip() for name, value in fields.items()}
    flags = values.get("flags", "").split()
    widest = next((name for name in ("avx512f", "avx2", "sse4_2") if name in flags), "no vector instructions known")
    return f"{values.get('model name', 'unknown')} ({widest})"


def _devices() -> str:
    from torch import cuda

    return ", ".join(cuda.get_device_name(index) for index in range(cuda.device_count())) or "no devices"
