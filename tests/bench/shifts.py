"""Milliseconds an image for each corruption. `python -m tests.bench.shifts [--device cuda] [c-bar]`.

On the CPU: severity 3, one thread, alternating in one process. Of ImageNet-C at 224 px, in batches of 32, against the
fastest faithful package that runs, imagecorruptions-imaug; of C-bar (`c-bar`: these alone) at 224 and 32 px against its
source's own way, an image at a time, pixel after pixel (tests/c_bar.py); processor time, since others may use the
machine too. On a GPU: images a second of ours alone, with
and without JPEG.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch
from PIL import Image

from tests import c_bar
from tests.bench.timing import alternate, machine, say
from tests.c_bar_draws import injected
from vhs.runs import runtime
from vhs.shifts.corruption import corrupt
from vhs.shifts.kinds import CORRUPTIONS
from vhs.shifts.names import CATEGORY, CORRUPTION_NAMES, STORED_NAMES

C_BAR = [name for name in STORED_NAMES if name not in CORRUPTION_NAMES]
SEVERITY, BATCH, ROUNDS = 3, 32, 5


def photographs(count: int) -> np.ndarray:
    """uint8 [count, 224, 224, 3]: scikit-image's astronaut, or noise of its statistics where that is missing."""
    try:
        from skimage import data

        image = np.asarray(Image.fromarray(data.astronaut()).resize((224, 224)))
    except ImportError:
        image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    return np.stack([np.roll(image, shift, axis=1) for shift in range(count)])


def on_cpu() -> None:
    import cv2
    import imagecorruptions

    cv2.setNumThreads(1)
    images = photographs(BATCH)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    keys = torch.arange(BATCH) * 7919
    ours_ms: dict[str, float] = {}
    theirs_ms: dict[str, float] = {}
    for name in CORRUPTION_NAMES:
        ours, theirs, ratio = alternate(
            lambda name=name: corrupt(tensor, keys, name, SEVERITY, 0),
            lambda name=name: [imagecorruptions.corrupt(image, SEVERITY, name) for image in images],
            rounds=ROUNDS, clock=time.process_time,
        )  # fmt: skip
        ours_ms[name], theirs_ms[name] = ours / BATCH * 1e3, theirs / BATCH * 1e3
        say(
            f"{name:<18} ours {ours_ms[name]:6.2f} ms  imagecorruptions-imaug {theirs_ms[name]:6.2f} ms  ratio {ratio:5.2f}"
        )
    total, other = (sum(times[name] for name in CATEGORY) for times in (ours_ms, theirs_ms))
    say(
        f"{'the 15 together':<18} ours {total:6.1f} ms  imagecorruptions-imaug {other:6.1f} ms  ratio {other / total:5.2f}"
    )


def on_cpu_c_bar() -> None:
    for side, batch in ((224, 8), (32, 128)):
        images = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in photographs(batch)])
        for name in C_BAR:
            own, other = (seconds * 1e3 for seconds in _beside_the_source(name, images))
            say(f"{name:<31} {side} px  ours {own:6.2f} ms  pixel by pixel {other:7.1f} ms  ratio {other / own:7.1f}")


def _beside_the_source(name: str, images: np.ndarray) -> tuple[float, float]:
    """Seconds an image: ours, of the batch; and as the source goes about it, of the first."""
    size = images.shape[1:3]
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    keys = torch.arange(len(images)) * 7919
    strength, draws = CORRUPTIONS[name].strength(SEVERITY, size), injected(name, SEVERITY, size)
    ours, theirs, _ = alternate(
        lambda: corrupt(tensor, keys, name, SEVERITY, 0),
        lambda: getattr(c_bar, name)(images[0], strength, **draws),
        rounds=ROUNDS,
    )
    return ours / len(images), theirs


def on_gpu(device: torch.device) -> None:
    batch = 256
    tensor = torch.from_numpy(photographs(batch)).permute(0, 3, 1, 2).contiguous().to(device)
    keys = torch.arange(batch, device=device) * 7919

    def measured(names: Iterable[str]) -> dict[str, float]:
        found = {name: _seconds(lambda name=name: corrupt(tensor, keys, name, SEVERITY, 0)) for name in names}
        for name, taken in found.items():
            say(f"{name:<31} {batch / taken:10,.0f} images/s")
        return found

    measured(C_BAR)
    seconds = measured(CATEGORY)
    for names, words in ((list(seconds), "all 15"), ([n for n in seconds if n != "jpeg_compression"], "without JPEG")):
        say(f"{words:<18} {len(names) * batch / sum(seconds[name] for name in names):10,.0f} images/s on average")


def _seconds(call: Callable[[], object]) -> float:
    first, second, _ = alternate(call, call, rounds=5, sync=torch.cuda.synchronize)
    return min(first, second)


def main() -> None:
    device = runtime.prepare("cuda" if "cuda" in sys.argv else "cpu", 1 if "cuda" not in sys.argv else None, "float32")
    say(machine())
    if device.type == "cuda":
        on_gpu(device)
    else:
        if "c-bar" not in sys.argv:
            on_cpu()
        on_cpu_c_bar()


if __name__ == "__main__":
    main()
