"""What training minimises: the loss of the answers and, where asked for, what a teacher says and how diverse heads are.

What is minimised is the weighted sum of terms; what is logged are their own values. Without a term beside the answers
nothing is tapped and the bare network runs.

Letters: B images, C channels, H height, W width, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from vhs.measures import head_gradients
from vhs.models.taps import CLASS, DISTILLED, Seen, Tap
from vhs.training import distillation, diversity
from vhs.training.adaptive import Adaptive
from vhs.training.assignment import Assignment
from vhs.training.criterion import Criterion
from vhs.training.gates import expected
from vhs.training.teacher import Taught, Teacher

Terms = dict[str, tuple[float, Tensor]]
ANSWERS = "class"


@dataclass(frozen=True)
class Part:
    """What of an update runs at once. answers: labels, mixed labels or targets; rows: which rows of the whole update
    these are; batch: how many that has."""

    pixels_BCHW: Tensor
    answers_B: Tensor
    rows_B: Tensor
    batch: int
    step: int


@dataclass(frozen=True)
class Distillation:
    """teacher; weights: of each term by name, the share of the answers left out; attention: how maps are compared;
    adaptive: how samples are weighed there; assignment: of heads, where it is not given."""

    teacher: Teacher
    weights: dict[str, float]
    temperature: float = 1.0
    attention: distillation.Attention | distillation.Relations | None = None
    adaptive: Adaptive | None = None
    assignment: Assignment | None = None

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What the student is asked for."""
        own = (Tap(CLASS), Tap(DISTILLED)) if self.by_token else ()
        return (*own, *(self.attention.taps if self.attention else ()))

    @property
    def by_token(self) -> bool:
        return any(name.startswith("token") for name in self.weights)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its terms, in the log: a token's, whether told hard or softly, has one name."""
        return tuple(name.partition("-")[0] for name in self.weights)

    def terms(self, logits_BO: Tensor, seen: Seen, part: Part) -> Terms:
        """Every term with its weight."""
        taught = self.teacher(part.pixels_BCHW)
        found: Terms = {}
        for (name, weight), logged in zip(self.weights.items(), self.names, strict=True):
            value = (
                self._of_attention(logits_BO, seen, taught, part) if name == "attention"
                else distillation.of_logits(name, logits_BO, seen, taught, self.temperature)
            )  # fmt: skip
            found[logged] = (weight, value)
        return found

    def _of_attention(self, logits_BO: Tensor, seen: Seen, taught: Taught, part: Part) -> Tensor:
        assert self.attention is not None
        losses_B = self.attention.per_image(seen, taught, len(part.pixels_BCHW))
        if self.adaptive is None:
            return losses_B.mean()
        answers = [None if logits is None else logits.detach().argmax(-1) == part.answers_B
                   for logits in (logits_BO, taught.logits_BO)]  # fmt: skip
        assert answers[0] is not None
        return (losses_B * self.adaptive.weights(answers[0], answers[1], part.rows_B, part.batch, part.step)).mean()


@dataclass(frozen=True)
class Diversity:
    """weight: lambda; layers: whose heads; pairs: of heads that are drawn for each update, 0 for all."""

    weight: float
    layers: Sequence[int]
    heads: Sequence[int]
    width: int
    pairs: int = 0
    seed: int = 0

    @property
    def taps(self) -> tuple[Tap, ...]:
        return head_gradients.taps(self.layers)

    def term(self, net: nn.Module, logits_BO: Tensor, seen: Seen, part: Part) -> Tensor:
        drawn = [
            diversity.draw(heads, self.pairs, self.seed, part.step, layer).to(logits_BO.device, non_blocking=True)
            if self.pairs else None
            for layer, heads in zip(self.layers, self.heads, strict=True)
        ]  # fmt: skip
        return diversity.term(net, logits_BO, seen, self.layers, drawn)

    def times_chance(self, value: float) -> float:
        """D times the mean squared cosine of different heads, 1 by chance; value: of the term. Layers have equally many
        heads."""
        return diversity.times_chance(value, self.heads[0], self.width)


@dataclass(frozen=True)
class Objective:
    """criterion: of the answers, whose weight is `alpha` where there is a teacher; gates: the price of an open one."""

    criterion: Criterion
    alpha: float = 1.0
    distillation: Distillation | None = None
    diversity: Diversity | None = None
    gates: float = 0.0
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        extra = (*(self.distillation.names if self.distillation else ()), *(("diversity",) if self.diversity else ()),
                 *(("gates",) if self.gates else ()))  # fmt: skip
        object.__setattr__(self, "names", (ANSWERS, *extra) if extra else ())

    @property
    def taps(self) -> tuple[Tap, ...]:
        """What the network is asked for."""
        parts = (self.distillation, self.diversity)
        return tuple(dict.fromkeys(tap for part in parts if part is not None for tap in part.taps))

    def terms(self, net: nn.Module, logits_BO: Tensor, seen: Seen, part: Part) -> Terms:
        """{name: (weight, value)}. net: the network that gave them, neither compiled nor shared."""
        answers = seen[Tap(CLASS)] if self.distillation and self.distillation.by_token else logits_BO
        found: Terms = {ANSWERS: (self.alpha, self.criterion(answers.float(), part.answers_B))}
        if self.distillation is not None:
            found |= self.distillation.terms(logits_BO, seen, part)
        if self.diversity is not None:
            found["diversity"] = (self.diversity.weight, self.diversity.term(net, logits_BO, seen, part))
        if self.gates:
            found["gates"] = (self.gates, expected(net))
        return found


def total(terms: Terms) -> Tensor:
    """What is minimised."""
    return torch.stack([value * weight if weight != 1 else value for weight, value in terms.values()]).sum()
