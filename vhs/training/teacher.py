"""The teacher of a run: a network that does not learn, and sees what the student sees.

Letters: B images, C channels, H height, W width, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vhs.models.model import Preprocess
from vhs.models.taps import Seen


@dataclass(frozen=True)
class Taught:
    """What a teacher gives of some images. logits: of the student's outputs, float32; None for a teacher of others."""

    logits_BO: Tensor | None
    seen: Seen


@dataclass(frozen=True)
class Teacher:
    """run: its tapped network. places_O: which of its outputs the student's are, on the device; None where none is
    needed; bf16: as the student runs.

    Without gradients, but not in torch's inference mode: what is made there cannot be kept for a backward pass.
    """

    run: Callable[[Tensor], tuple[Tensor, Seen]]
    preprocess: Preprocess
    student: Preprocess
    places_O: Tensor | None = None
    bf16: bool = False

    @torch.no_grad()
    def __call__(self, pixels_BCHW: Tensor) -> Taught:
        """One pass over the student's pixels, made into the teacher's: other statistics, another size."""
        with torch.autocast(pixels_BCHW.device.type, torch.bfloat16, enabled=self.bf16):
            logits, seen = self.run(self.preprocess.of_pixels(pixels_BCHW, self.student))
        return Taught(None if self.places_O is None else logits.float()[:, self.places_O], seen)
