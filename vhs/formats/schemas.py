"""The tables vhs reads and writes: every column with its type, unit and meaning.

docs/tables.md is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass

from vhs.errors import InputError

STRING, INTEGER, REAL, FLAG = "string", "integer", "real", "flag"


@dataclass(frozen=True)
class Column:
    """One column. A null is allowed only where `nullable`."""

    name: str
    kind: str
    unit: str
    meaning: str
    nullable: bool = False


@dataclass(frozen=True)
class Schema:
    """One table: its columns in order, and what a row is.

    signature: the columns by which a table of this kind is told from the others; writer: the command that writes it.
    """

    name: str
    row: str
    columns: tuple[Column, ...]
    signature: tuple[str, ...]
    writer: str

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def _text(name: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, STRING, "", meaning, nullable)


def _count(name: str, meaning: str, unit: str = "samples", nullable: bool = False) -> Column:
    return Column(name, INTEGER, unit, meaning, nullable)


def _real(name: str, unit: str, meaning: str, nullable: bool = False) -> Column:
    return Column(name, REAL, unit, meaning, nullable)


def _interval(name: str, unit: str, nullable: bool = False) -> tuple[Column, Column]:
    return (
        _real(f"{name}_lo", unit, f"lower 95 % bound of {name}", nullable),
        _real(f"{name}_hi", unit, f"upper 95 % bound of {name}", nullable),
    )


MEASURED = (
    _text("model", "name of the model, as it was referred to"),
    _text("model_id", "hash of the model's weights"),
    _count("step", "training step of the checkpoint", "updates", nullable=True),
    _count("seed", "training seed of the checkpoint", "", nullable=True),
    _text("data", "name of the data set the samples come from"),
    _text("shift", "`clean`, or the family or set the condition belongs to"),
    _text("category", "`noise`, `blur`, `weather`, `digital`; empty for clean", nullable=True),
    _text("corruption", "name of the corruption; empty for clean", nullable=True),
    _count("severity", "1 to 5; 0 for clean; patches along a side for `patch_shuffle`", ""),
    _text("origin", "`generated` by vhs, `procedural` (frost without the photographs) or `stored`"),
    _text("group", "`all`, or `name=value` of the samples counted"),
    _text(
        "label_set",
        "classes the answer is chosen from: `all` of the model's, or the name of the set whose classes they are",
    ),
)
"""What every measured row starts with: whose, on what, under which condition."""

TARGET = _text("target", "`class`, or the regression target", nullable=True)
SCALE_NAMES = "`accuracy`, `lost_rate`, `loss` or `log_odds`; of targets `error` or `relative_error`"

EVALSHIFT = Schema(
    "evalshift",
    "one model under one condition",
    (
        *MEASURED,
        _count("n", "samples scored"),
        _count("n_correct", "samples answered right"),
        _real("top1", "fraction", "n_correct / n"),
        *_interval("top1", "fraction"),
        _count("n_correct5", "samples with the label among the five highest"),
        _real("top5", "fraction", "n_correct5 / n"),
        _real("loss", "nats", "mean cross-entropy"),
        *_interval("loss", "nats", nullable=True),
        _real("ece", "fraction", "expected calibration error, 15 equal-width bins"),
        _text("size", "image height x width the model saw, px"),
        _text("preprocess", "geometry of the data, then of the model"),
        _count("n_classes", "answers that may be given; guessing is right in 1 / n_classes", "", nullable=True),
    ),
    ("top1", "n_correct5", "ece"),
    "evalshift",
)

_UNIT = (
    _text(
        "unit",
        "`none` (the sham: nothing removed), `head`, `layer` (all its heads), `only` (all of a layer but the head), "
        "`pair`, `mlp` (a layer's) or `set` (of --select)",
    ),
    _text("module", "attention module inside the block; empty for the sham", nullable=True),
    _count("layer", "block, 0-based; empty for the sham", "", nullable=True),
    _count("head", "head, 0-based; empty for the sham", "", nullable=True),
    _count("layer_b", "second head of a pair: its block", "", nullable=True),
    _count("head_b", "second head of a pair", "", nullable=True),
    _text("heads", "heads removed, `L3H1` (layer 3, head 1), joined by `+`; empty for the sham", nullable=True),
    _text(
        "fill",
        "what stands in for the head: `zero`, `mean`, `mean-flat`, `resample`, `uniform`, `mean-map`, `donor-map`, "
        "`twin` or `twin-break`",
    ),
    _text("fill_data", "data the fill was taken from; empty for zero", nullable=True),
    _text("method", "`exact`: everything behind the head recomputed"),
    _text("rescale", "`none`, or `H/kept`: the factor on the kept heads of the layer"),
    _text("precision", "`float32`, `tf32` or `bf16`"),
    _text("target", "`class`, or the regression target"),
)
_ABLATION_COUNTS = (
    _count("n", "samples scored"),
    _count("n_correct_intact", "answered right by the intact model"),
    _count("n_correct", "answered right after the ablation"),
    _count("n_lost", "right before, wrong after"),
    _count("n_gained", "wrong before, right after"),
    _count("n_near_tie", "label within 1e-4 of the best other logit, before or after: rounding may decide these"),
    _count(
        "n_flip", "sham row under reduced precision: intact answers of fold 0 that differ in float32", nullable=True
    ),
)

ABLATE = Schema(
    "ablate",
    "one head (or the sham) of one model removed under one condition",
    (
        *MEASURED,
        *_UNIT,
        *_ABLATION_COUNTS,
        _real("drop", "fraction", "(n_correct_intact - n_correct) / n; positive: the head helped"),
        *_interval("drop", "fraction"),
        _real(
            "p",
            "probability",
            "exact McNemar test of n_lost against n_gained, two-sided; empty under --half-width",
            nullable=True,
        ),
        _real("q", "probability", "p after Benjamini-Hochberg over the heads of the condition", nullable=True),
        _real("loss_intact", "nats", "mean cross-entropy of the intact model"),
        _real("loss", "nats", "mean cross-entropy after the ablation"),
        _real("dloss", "nats", "loss - loss_intact; positive: the head helped"),
        *_interval("dloss", "nats", nullable=True),
        _real(
            "score",
            "",
            "of `only`: accuracy with the head alone in its layer, less with the layer empty; of `pair`: its drop less "
            "its two heads' drops",
            nullable=True,
        ),
        *_interval("score", "", nullable=True),
    ),
    ("drop", "n_lost", "n_near_tie"),
    "ablate",
)

FOLDS = Schema(
    "folds",
    "one row of the ablate table on one fold of the samples; integers, exact sums",
    (
        *MEASURED,
        *_UNIT,
        _count("fold", "hash(sample id) mod 20; the same samples in every condition", ""),
        *_ABLATION_COUNTS,
        _count("loss_intact_sum", "sum of the intact loss", "2^-24 nats"),
        _count("dloss_sum", "sum of the loss change", "2^-24 nats"),
        _count("dloss_sq_sum", "sum of its square, rounded per sample", "2^-24 nats²"),
    ),
    ("fold", "dloss_sq_sum"),
    "ablate",
)

ABLATE_REGRESSION = Schema(
    "ablate_regression",
    "one unit removed from one model under one condition, for one target",
    (
        *MEASURED,
        *_UNIT,
        _count("n", "samples scored"),
        _real("mse_intact", "deviations²", "mean squared error of the intact model, targets standardised"),
        _real("mse", "deviations²", "the same without the unit"),
        _real("dmse", "deviations²", "mse - mse_intact; positive: the unit helped"),
        *_interval("dmse", "deviations²", nullable=True),
        _real("dmse_rel", "fraction", "dmse / mse_intact"),
        *_interval("dmse_rel", "fraction"),
        _real("p", "probability", "of dmse, paired normal test; empty under --half-width",
              nullable=True),
        _real("q", "probability", "p after Benjamini-Hochberg over the condition's units", nullable=True),
    ),
    ("dmse_rel", "mse_intact"),
    "ablate",
)  # fmt: skip

FOLDS_REGRESSION = Schema(
    "folds_regression",
    "one row of the ablate_regression table on one fold of the samples; integers, exact sums",
    (
        *MEASURED,
        *_UNIT,
        _count("fold", "hash(sample id) mod 20; the same samples in every condition", ""),
        _count("n", "samples scored"),
        _count("se_intact_sum", "sum of the intact squared error", "2^-24 deviations²"),
        _count("dse_sum", "sum of the change of the squared error", "2^-24 deviations²"),
        _count("dse_sq_sum", "sum of its square, rounded per sample", "2^-24 deviations⁴"),
    ),
    ("fold", "dse_sum"),
    "ablate",
)

EVALSHIFT_REGRESSION = Schema(
    "evalshift_regression",
    "one model under one condition, for one target",
    (
        *MEASURED,
        _text("target", "name of the target"),
        _count("n", "samples scored"),
        _real("mse", "deviations²", "mean squared error, targets standardised by the training split"),
        *_interval("mse", "deviations²", nullable=True),
        _real("mae", "deviations", "mean absolute error"),
        _real("r2", "", "1 - mse / variance of the scored targets", nullable=True),
    ),
    ("mae", "r2"),
    "evalshift",
)

PRUNE = Schema(
    "prune",
    "one step of an order of heads under one condition, or the mean of conditions, on one part of the images",
    (
        *MEASURED,
        _text(
            "order",
            "way in which heads go (docs/methods.md); `single`: each head alone; `random-N`: random orders, the "
            "control; `list`: heads that were named",
        ),
        _count("round", "step of the order, 0: nothing is gone", ""),
        _count("heads_left", "heads that are left", "heads"),
        _text("removed", "heads that went in this step, `L3H1`, joined by `+`", nullable=True),
        _text("over", "`condition`; `corruption`: the mean over its severities; `mean`: of all conditions named"),
        _text("used_for", "`choose`: the images (folds 0 to 6) that orders are chosen on; `report`: the others"),
        _count("n", "images of the part"),
        _count("n_correct", "of these answered right; empty for means", nullable=True),
        _real("top1", "fraction", "accuracy; of means, the mean over conditions"),
        *_interval("top1", "fraction", nullable=True),
        _real("loss", "nats", "mean cross-entropy"),
        _real("ece", "fraction", "expected calibration error, 15 equal-width bins; empty for means", nullable=True),
        _count("n_lost", "right by the whole model, wrong here; empty for means", nullable=True),
        _count("n_gained", "wrong by the whole model, right here; empty for means", nullable=True),
        _real("drop", "fraction", "accuracy lost against the whole model, of the same images"),
        *_interval("drop", "fraction"),
        _real("epsilon", "fraction", "loss that --certify tests", nullable=True),
        _real("confidence", "fraction", "of the certificate", nullable=True),
        _real("bound", "fraction", "one-sided upper bound of drop at this confidence, of this row alone",
              nullable=True),
        _real("p", "probability", "of the hypothesis that epsilon or more is lost", nullable=True),
        Column("certified", FLAG, "", "whether every step to this one was passed, in everything the certificate is of",
               nullable=True),
        _real("images_needed", "images", "about how many show that less than epsilon is lost, 80 % power; empty where "
              "more is lost", nullable=True),
        _count("parameters", "of the network", ""),
        _count("flops", "of a pass over one image, one multiply-add being two", "FLOPs"),
        _real("images_per_s", "1/s", "measured rate; with --speed", nullable=True),
    ),
    ("heads_left", "used_for"),
    "prune",
)  # fmt: skip

ESTIMATES = Schema(
    "estimates",
    "one head of one model under one condition: an estimate of what removing it does",
    (
        *MEASURED,
        _text("module", "attention module inside the block"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("fill", "what would stand in for the head"),
        _text("fill_data", "data the fill was taken from; empty for zero", nullable=True),
        _text("method", "`taylor`: E[(fill - z) dL/dz]; `direct`: what the head gives the logits, final norm frozen"),
        _text("precision", "`float32`, `tf32` or `bf16`"),
        _count("n", "samples scored"),
        _real("dloss", "nats", "estimated mean change of the loss; positive: the head helps"),
        *_interval("dloss", "nats"),
        _real(
            "score",
            "nats",
            "taylor: mean over samples of the absolute sum over tokens (Michel et al. 2019, the formula); direct: mean "
            "of what the head gives the label's class-centred logit",
        ),
        _real(
            "score_token",
            "nats",
            "taylor: mean over samples of the sum of absolute values of tokens (their code)",
            nullable=True,
        ),
    ),
    ("score_token",),
    "ablate --method taylor",
)

ESTIMATED = Schema(
    "estimated",
    "one head under one condition: the estimate beside the exact effect",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        *(column for column in MEASURED if column.name in ("data", "shift", "category", "corruption", "severity")),
        _text("fill", "fill of both"),
        _text("method", "of the estimate"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _real("estimate", "nats", "estimated change of the loss"),
        *_interval("estimate", "nats", nullable=True),
        _real("exact", "nats", "measured change of the loss"),
        *_interval("exact", "nats", nullable=True),
        _real("r", "", "rank correlation of the two over the heads of the condition"),
    ),
    ("estimate", "exact"),
    "compare --exact",
)

OUTCOMES = Schema(
    "outcomes",
    "one sample under one condition: whether it was answered right, intact and without each head",
    (
        *MEASURED,
        _text("sample", "id of the sample"),
        _text("class", "its class"),
        _text(
            "units", "what the bits stand for, in order: `intact`, `none` (the sham), then `L3H1` and so on, by spaces"
        ),
        _text("right", "hexadecimal bytes, the lowest bit first; 1: answered right"),
        _text("groups", "of `--by`: the groups the sample is in, a JSON list of `name=value`", nullable=True),
    ),
    ("sample", "units", "right"),
    "ablate --per-sample",
)

HEADS = Schema(
    "heads",
    "one measure of one head under one condition",
    (
        *MEASURED,
        _text("module", "attention module inside the block"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("metric", "name of the measure; see docs/methods.md"),
        _text("of", "region or feature the measure is about; empty where it is about none", nullable=True),
        _text("query", "queries averaged over: `all`, `class`, `patches`, `windows` (each in its own), `pooling` (the "
              "one query that pools), or `none`"),
        _text("weighting", "`attention`: softmax weights; `value`: weights times the norm of what they carry"),
        _count("n", "samples measured; 0 for what is known from the weights alone"),
        _real("value", "in_unit", "mean over samples"),
        _real("lo", "in_unit", "lower 95 % bound over samples", nullable=True),
        _real("hi", "in_unit", "upper 95 % bound over samples", nullable=True),
        _real("null_lo", "in_unit", "lower end of the 95 % band that the value has by chance, where known",
              nullable=True),
        _real("null_hi", "in_unit", "upper end of that band", nullable=True),
        _text("in_unit", "unit of value: `px`, `nats`, `logits`, `sqrt(nats)` or `1`"),
    ),
    ("metric", "query", "in_unit"),
    "specialize",
)  # fmt: skip

PAIRS = Schema(
    "pairs",
    "one measure of two heads under one condition",
    (
        *MEASURED,
        _count("layer", "block of the first head, 0-based", ""),
        _count("head", "first head", ""),
        _text("model_b", "model of the second head"),
        _count("layer_b", "block of the second head", ""),
        _count("head_b", "second head", ""),
        _text("metric", "`jsd`: Jensen-Shannon divergence of the attention maps, mean over queries (nats); `cka`: "
              "linear centred kernel alignment of what the heads write; `disagreement`: share of samples of which two "
              "heads of a layer give most to different classes directly; `gradients`: width times the mean squared "
              "cosine of two heads' input gradients, 1 by chance (`--gradients`)"),
        _real("value", "nats or 1",
              "over samples; jsd 0 to ln 2, cka and disagreement 0 to 1, gradients 0 to the width"),
        _real("lo", "nats or 1", "lower 95 % bound over samples", nullable=True),
        _real("hi", "nats or 1", "upper 95 % bound over samples", nullable=True),
        _count("n", "samples measured"),
    ),
    ("model_b", "layer_b", "metric"),
    "specialize --pairs",
)  # fmt: skip

ANSWERED = (("both", "both models answer"), ("other", "only the other model answers"),
            ("own", "only the model answers"), ("neither", "neither model answers"))  # fmt: skip


def _by_answers() -> tuple[Column, ...]:
    """Divergences of two maps by who answers an image right."""
    found: list[Column] = []
    for name, who in ANSWERED:
        found += [
            _real(f"jsd_{name}", "nats", f"JSD of the two maps on images that {who} right", nullable=True),
            *_interval(f"jsd_{name}", "nats", nullable=True),
            _count(f"n_{name}", f"images that {who} right", nullable=True),
        ]
    return tuple(found)


MATCHES = Schema(
    "matches",
    "one head and its match in another model under one condition, assigned on half of the images, scored on the others",
    (
        *MEASURED,
        _text("module", "attention module inside the block", nullable=True),
        _count("layer", "block of the head, 0-based; empty for a head of the other model that is left over", "",
               nullable=True),
        _count("head", "head", "", nullable=True),
        _text("model_b", "name of the other model"),
        _text("model_b_id", "hash of its weights"),
        _count("layer_b", "block of the match; empty where none is left", "", nullable=True),
        _count("head_b", "head that is the match", "", nullable=True),
        _text("assigned", "`yes` for heads assigned to each other one to one; `no` for a head that is left over, "
              "of either model, beside the one that it is most like, if any", nullable=True),
        _real("similarity", "", "1 - JSD / ln 2 of the two maps, mean over queries and images; 0 to 1", nullable=True),
        *_interval("similarity", "", nullable=True),
        _real("across", "", "the same of one's map of an image and the other's map of another image", nullable=True),
        _real("specific", "", "similarity - across: agreement about what is in the image", nullable=True),
        *_interval("specific", "", nullable=True),
        _real("p_specific", "probability", "one-sided, t over folds, that it is not above 0", nullable=True),
        _real("q_specific", "probability", "that after Benjamini-Hochberg over heads", nullable=True),
        _real("random", "", "mean similarity with all heads that it could have been assigned", nullable=True),
        _real("above", "", "similarity - random: any agreement", nullable=True),
        *_interval("above", "", nullable=True),
        _real("p_above", "probability", "one-sided, that it is not above 0", nullable=True),
        _real("q_above", "probability", "that after Benjamini-Hochberg over heads", nullable=True),
        _count("n", "samples of both halves"),
        *_by_answers(),
    ),
    ("model_b_id", "similarity", "across"),
    "specialize --against",
)  # fmt: skip

KINDS = Schema(
    "kinds",
    "what one head looks at of an image's regions, and whether it matters, under one condition",
    (
        *MEASURED,
        _text("module", "attention module inside the block"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("kind", "`one` region, `several`, `diffuse` (none), or `undecided`"),
        _text("regions", "regions looked at, the strongest first, joined by +", nullable=True),
        _real("excess", "", "largest excess enrichment of a region"),
        *_interval("excess", "", nullable=True),
        _text("relevant", "`yes`, `no` or `undecided`: whether removing the head costs more than the tolerance"),
        _text("effect_of", "what the effect is of: `accuracy`, or the target that it is largest for"),
        _real("effect", "fraction", "accuracy lost, or squared error added relative to the intact one"),
        *_interval("effect", "fraction"),
        _real("tolerance", "fraction", "effect below which a head does not matter"),
        _count("n", "samples on which regions were measured"),
    ),
    ("kind", "relevant", "excess"),
    "compare --summary kinds",
)

PROBES = Schema(
    "probes",
    "a linear probe of one attribute on one head under one condition",
    (
        *MEASURED,
        _text("module", "attention module inside the block"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("attribute", "what is decoded: an attribute of the data, or `label`"),
        _text("source", "what it is decoded from: `output` of the head, or `direct`, what it gives the logits"),
        _text("token", "the token whose output is read: `class`, or `patches` (their mean); `logits` of direct"),
        _count("values", "values told apart", ""),
        _count("dimensions", "features read of every head, equally many", ""),
        _count("n", "samples answered, none of which fitted the probe"),
        _real("n_effective", "samples", "how many of equal weight tell as much"),
        _real(
            "accuracy",
            "fraction",
            "share answered right, each value counting alike whatever the other attributes; of "
            "`direct` whether the output that the head gives most to is the value's",
        ),
        *_interval("accuracy", "fraction"),
        _real(
            "control",
            "fraction",
            "the same from as many random directions of what the head's block received; of `direct` chance",
        ),
        _real("untrained", "fraction", "the same from the same head of the untrained network"),
        _real("shuffled", "fraction", "the same after fitting to shuffled values; of `direct` chance"),
        _real("excess", "fraction", "accuracy - the largest of control, untrained and shuffled"),
        *_interval("excess", "fraction"),
        _real("p", "probability", "one-sided, that the excess over any of the three is not above 0"),
        _real("q", "probability", "p after Benjamini-Hochberg over the heads of attribute, source and condition"),
    ),
    ("attribute", "control", "untrained"),
    "specialize --probe",
)

EXCLUSIVITY = Schema(
    "exclusivity",
    "one head under one condition: which of two attributes it holds",
    (
        *(column for column in MEASURED if column.name not in ("origin", "group", "label_set")),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("source", "`direct`: what the head gives the logits; `output`: what can be decoded from it"),
        _text("robust", "name of the attribute that stays with the label"),
        _text("spurious", "name of the attribute that does not"),
        _real("robust_excess", "fraction", "of the robust attribute: accuracy beyond the baselines"),
        *_interval("robust_excess", "fraction"),
        _real("spurious_excess", "fraction", "the same of the spurious one"),
        *_interval("spurious_excess", "fraction"),
        _real("exclusivity", "", "accuracy of the robust less that of the spurious attribute, each from chance to 1; "
              "-1 to 1"),
        *_interval("exclusivity", ""),
        _text("kind", "`robust`, `spurious`, `both` or `neither`: whose q is below 0.05"),
        _real("effect", "fraction", "accuracy lost without the head under this condition, if an ablation was named too",
              nullable=True),
        *_interval("effect", "fraction", nullable=True),
        _real("effect_clean", "fraction", "the same on clean images", nullable=True),
        _real("effect_lo_clean", "fraction", "lower 95 % bound of effect_clean", nullable=True),
        _real("effect_hi_clean", "fraction", "upper 95 % bound of effect_clean", nullable=True),
    ),
    ("robust_excess", "exclusivity"),
    "compare --summary exclusivity",
)  # fmt: skip

COMPARE = Schema(
    "compare",
    "agreement of head importances between two conditions",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("a", "first condition, `shift/corruption:severity`"),
        _text("b", "second condition"),
        _text("metric", f"scale of the importances: {SCALE_NAMES}"),
        _text("fill", "fill of the ablations compared"),
        TARGET,
        Column("within_layer", FLAG, "", "whether depth is taken out: heads ranked and permuted within their layer"),
        _real("r", "", "cross-fold rank correlation: a on one half of the samples, b on the other"),
        _real("lo", "", "lower 95 % bound of r"),
        _real("hi", "", "upper 95 % bound of r"),
        _text("over", "what the interval is over: `images`, `heads` or `seeds`"),
        _real("reliability_a", "", "split-half rank correlation of a with itself: the ceiling r is under"),
        _real("reliability_b", "", "the same of b"),
        _real("disattenuated", "", "r / sqrt(reliability_a * reliability_b); empty where a reliability's interval "
              "touches 0", nullable=True),
        _real("p", "probability", "two-sided, heads of b permuted"),
        _count("n_heads", "heads compared", "heads"),
        _count("n_images", "samples of each condition"),
    ),
    ("within_layer", "reliability_a"),
    "compare",
)  # fmt: skip

SHIFTS = Schema(
    "shifts",
    "agreement of head importances between two shifts, each a mean over its conditions",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("fill", "fill of the ablations"),
        TARGET,
        _text("metric", f"scale of the importances: {SCALE_NAMES}"),
        Column("within_layer", FLAG, "", "whether depth is taken out: heads ranked and permuted within their layer"),
        _text("level", "what conditions are averaged over: `corruption` (its severities) or `category`"),
        _text("a", "first shift: `clean`, a corruption or category, or a shard set"),
        _text("b", "second shift, or the first again: then r is its reliability"),
        _count("n_conditions_a", "conditions that a is the mean of", "conditions"),
        _count("n_conditions_b", "conditions that b is the mean of", "conditions"),
        _real("r", "", "cross-fold rank correlation: a on one half of the samples, b on the other"),
        _real("lo", "", "lower 95 % bound of r, over images"),
        _real("hi", "", "upper 95 % bound of r, over images"),
        _real("reliability_a", "", "split-half rank correlation of a with itself"),
        _real("reliability_b", "", "the same of b"),
        _real("disattenuated", "", "r / sqrt(reliability_a * reliability_b); empty where a reliability's interval "
              "touches 0", nullable=True),
        _real("p", "probability", "two-sided, heads of b permuted"),
        _count("cluster_a", "cluster of a, by 1 - disattenuated; the largest is 0; empty where a is too noisy", "",
               nullable=True),
        _count("cluster_b", "cluster of b", "", nullable=True),
        _count("n_heads", "heads compared", "heads"),
        _count("n_images", "samples of each condition"),
    ),
    ("level", "n_conditions_a", "cluster_a"),
    "compare --summary shifts",
)  # fmt: skip

METRICS = Schema(
    "metrics",
    "one measure of heads beside how much heads matter under one condition",
    (
        *(column for column in MEASURED if column.name not in ("origin", "group", "label_set")),
        _text("fill", "fill of the ablation"),
        TARGET,
        _text("scale", f"scale of the importances: {SCALE_NAMES}"),
        _text("metric", "name of the measure; see docs/methods.md"),
        _text("of", "region or feature the measure is about", nullable=True),
        _text("query", "queries averaged over"),
        _text("weighting", "`attention` or `value`"),
        _text("measured_under", "condition of the measure: `the same` as of the importances, or `clean`"),
        _real("r", "", "rank correlation over heads of the measure and the importance"),
        _real("lo", "", "lower 95 % bound of r, over heads", nullable=True),
        _real("hi", "", "upper 95 % bound of r, over heads", nullable=True),
        _text("over", "what the interval is over: `heads`"),
        _real("p", "probability", "two-sided, heads permuted"),
        _real("q", "probability", "p after Benjamini-Hochberg over the measures of the condition and scale"),
        _real("r_within", "", "the same with ranks centred within layers"),
        _real("p_within", "probability", "two-sided, heads permuted within layers"),
        _real("reliability", "", "split-half rank correlation of the importances: half the images against the others"),
        _real("reliability_metric", "", "share of the measure's variance over heads that is not sampling error",
              nullable=True),
        _real("r2_layer", "", "share of the variance of the importances' ranks that the layer index explains"),
        _real("r2_added", "", "what the measure's ranks explain beyond that"),
        _real("p_added", "probability", "of r2_added, F with 1 and n_heads - 3 degrees of freedom"),
        _count("n_heads", "heads", "heads"),
        _count("n", "samples of the ablation"),
    ),
    ("metric", "measured_under", "r2_added"),
    "compare --summary metrics",
)  # fmt: skip

TRAJECTORY = Schema(
    "trajectory",
    "one snapshot of a training run under one condition: how importance is spread over heads, and how near its end",
    (
        _text("run", "name of the run"),
        *(column for column in MEASURED if column.name not in ("origin", "group", "label_set")),
        _text("fill", "fill of the ablations"),
        TARGET,
        _text("scale", f"scale of the importances: {SCALE_NAMES}"),
        _real("gini", "", "Gini coefficient of the importances, those below 0 as 0: 0 all alike, 1 one head has all"),
        *_interval("gini", ""),
        _real("r", "", "cross-fold rank correlation with the importances of the run's last snapshot"),
        *_interval("r", ""),
        _real("reliability", "", "split-half rank correlation of this snapshot's importances"),
        _real("reliability_end", "", "the same of the last snapshot's"),
        _real("disattenuated", "", "r / sqrt(reliability * reliability_end); empty where either's interval touches 0",
              nullable=True),
        _count("n_heads", "heads", "heads"),
        _count("n", "samples"),
    ),
    ("run", "gini", "reliability_end"),
    "compare --summary trajectory",
)  # fmt: skip

EFFECTIVE = Schema(
    "effective",
    "one model under one shifted condition: accuracy beyond what its clean accuracy gives",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("recipe", "name of its recipe: of its run, without the seed"),
        _count("step", "training step of the checkpoint", "updates", nullable=True),
        _count("seed", "training seed", "", nullable=True),
        _text("data", "name of the data set"),
        _text("shift", "family or set of the condition; `mean`: of all shifted ones"),
        _text("corruption", "name of the corruption", nullable=True),
        _count("severity", "1 to 5; 0 for the mean", ""),
        _real("clean", "fraction", "accuracy on clean images, (n_correct + 0.5) / (n + 1)"),
        _real("shifted", "fraction", "the same under the condition"),
        _real("expected", "fraction", "of a model as good on clean images: line through the reference models, probit "
              "scale; empty where these are fewer than 20, or all better or all worse on clean images", nullable=True),
        _real("effective", "fraction", "shifted - expected", nullable=True),
        *_interval("effective", "fraction", nullable=True),
        _count("n_models", "reference models: those of other runs, or published ones (`--baselines`)", "models"),
        _count("n", "samples"),
    ),
    ("expected", "effective"),
    "compare --summary effective",
)  # fmt: skip

MODELS = Schema(
    "models",
    "one value of many models: of a recipe, what training changed, a difference of recipes, or what it predicts",
    (
        _text("question", "`recipe`: a mean over seeds; `learned`: last less first snapshot; `difference`: recipe less "
              "against; `predicts`: partial correlation with shifted accuracy, clean accuracy (probit, and its "
              "square) held fixed"),
        _text("recipe", "recipe (runs that differ in their seed only), or `all`"),
        _text("against", "recipe it is compared with; `first`: the first snapshots; `last`: among the last of "
              "each run only", nullable=True),
        _text("what", "name of a measure of heads, or `clean` and `shifted` accuracy"),
        _text("of", "region or feature the measure is about", nullable=True),
        _text("query", "queries averaged over"),
        _text("statistic", "`mean` or `spread` (standard deviation) over the heads of a model, or `accuracy`"),
        _real("value", "of the measure", "mean over seeds, difference, or correlation"),
        _real("lo", "of the measure", "lower 95 % bound", nullable=True),
        _real("hi", "of the measure", "upper 95 % bound", nullable=True),
        _text("over", "what the interval is over: `seeds`, or `runs` with all their checkpoints"),
        _real("p", "probability", "t, Welch's t, or runs permuted within recipes", nullable=True),
        _real("q", "probability", "p after Benjamini-Hochberg within the question; empty for the mean of jsd_layer, "
              "which is named beforehand", nullable=True),
        _count("n_models", "checkpoints", "models"),
    ),
    ("question", "recipe", "statistic"),
    "compare --summary models",
)  # fmt: skip

ARMS = Schema(
    "arms",
    "one number of an arm of a study, averaged over its training seeds, or an effect: a difference of arms",
    (
        _text("question", "`mean` of an arm, or `effect`"),
        _text("arm", "arm (runs that differ in their seed only), or the effect: `told - alone`"),
        _text("data", "data set; empty where the table read does not tell", nullable=True),
        _text("condition", "`clean`, a shift, `mean` over shifted conditions, or `mean of` those of a category; empty "
              "where the table read has none", nullable=True),
        _text("what", "what was averaged: a column or metric of the table read (docs/methods.md, section 10)"),
        _text("of", "what that is of: a target, region, unit, or order of heads and heads left", nullable=True),
        _count("layer", "block, 0-based; empty for all", "", nullable=True),
        _real("value", "of what", "mean over seeds, or effect"),
        _real("lo", "of what", "lower 95 % bound over seeds; empty of one run, or of runs that are all alike",
              nullable=True),
        _real("hi", "of what", "upper 95 % bound", nullable=True),
        _real("deviation", "of what", "standard deviation over seeds, of a paired effect that of the differences",
              nullable=True),
        _text("how", "`seeds`: t of one arm; `welch`: arms that share nothing; `paired`: differences by seed"),
        _real("p", "probability", "two-sided, of an effect of 0", nullable=True),
        _real("q", "probability", "p after Benjamini-Hochberg over all effects of the table", nullable=True),
        _real("detectable", "of what", "the smallest true effect that so many runs, as unlike as these, find with odds "
              "of 80 % (two-sided, .05)", nullable=True),
        _real("together", "", "correlation over shared seeds of the two arms of an effect: above .3 pairing pays",
              nullable=True),
        _count("n_runs", "runs behind it", "runs"),
    ),
    ("question", "arm", "detectable"),
    "compare --summary arms",
)  # fmt: skip

ROLES = Schema(
    "roles",
    "one head and one role that it surely has by a declared rule, or `none`",
    (
        *(column for column in MEASURED if column.name in ("model", "model_id", "step", "seed", "data")),
        _text("module", "attention module inside the block"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("role", "`unused`, `static`, `region detector`, `positional`, `follower`, `sink`, `class-token reader`, "
              "`local`, `carrier` or `none`"),
        _text("of", "the region, feature or category of shifts that the role is of", nullable=True),
        _text("metric", "what the rule is about: a measure of the heads table, or an effect", nullable=True),
        _real("value", "of the metric", "its value", nullable=True),
        _real("lo", "of the metric", "lower 95 % bound", nullable=True),
        _real("hi", "of the metric", "upper 95 % bound", nullable=True),
        _real("threshold", "of the metric", "what the value is surely beyond", nullable=True),
        _real("p", "probability", "one-sided, that it is not beyond the threshold; empty for unused and static, whose "
              "q is of many", nullable=True),
        _real("q", "probability", "after Benjamini-Hochberg over heads and all that the rule may be of; below 0.05",
              nullable=True),
        _count("n", "samples", nullable=True),
        _text("words", "the role in words, after the name of the head"),
    ),
    ("role", "threshold", "words"),
    "compare --summary roles",
)  # fmt: skip

VERSUS = Schema(
    "versus",
    "two models on the same samples under one condition: intact, and each without the same head",
    (
        _text("model_a", "name of the first model"),
        _text("model_b", "name of the second model"),
        *(column for column in MEASURED if column.name in ("data", "shift", "category", "corruption", "severity")),
        _text("unit", "`intact`, `none` (the sham), or the head removed from both, `L3H1`"),
        _count("n", "samples scored by both"),
        _count("n_correct_a", "answered right by a"),
        _count("n_correct_b", "answered right by b"),
        _count("n_only_a", "right by a alone"),
        _count("n_only_b", "right by b alone"),
        _real("diff", "fraction", "(n_correct_b - n_correct_a) / n"),
        _real("lo", "fraction", "lower 95 % bound of diff, Bonett-Price"),
        _real("hi", "fraction", "upper 95 % bound of diff"),
        _real("p", "probability", "exact McNemar, two-sided"),
        _real("q", "probability", "p after Benjamini-Hochberg within the condition"),
    ),
    ("model_a", "n_only_a", "n_only_b"),
    "compare --against",
)

ROLLUP = Schema(
    "rollup",
    "one head, its effect averaged over several conditions on the same samples",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("fill", "fill of the ablations"),
        TARGET,
        _text("over", "the conditions averaged: a family, a category or a corruption (over severities)"),
        _count("n_conditions", "how many conditions that is", "conditions"),
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("scale", SCALE_NAMES),
        _real("value", "of the scale", "mean effect of removing the head; positive: it helped"),
        _real("lo", "of the scale", "lower 95 % bound of value, fold jackknife: clustered by sample"),
        _real("hi", "of the scale", "upper 95 % bound of value"),
        _real("clean", "of the scale", "the effect on the clean samples"),
        _real("diff", "of the scale", "value - clean; positive: the head matters more under shift"),
        _real("diff_lo", "of the scale", "lower 95 % bound of diff"),
        _real("diff_hi", "of the scale", "upper 95 % bound of diff"),
        _real("p", "probability", "of diff, two-sided, t with 19 degrees of freedom"),
        _real("q", "probability", "p after Benjamini-Hochberg over the heads of the table's scale"),
        _count("n", "samples of each condition"),
    ),
    ("over", "n_conditions", "diff_lo"),
    "compare --summary rollup",
)

REDUNDANCY = Schema(
    "redundancy",
    "one model under one condition: how many heads are shown to be dispensable one at a time",
    (
        *(column for column in MEASURED if column.name not in ("step", "seed", "origin", "group", "label_set")),
        _count("n", "samples scored"),
        _count("n_heads", "heads", "heads"),
        _real("tolerance", "fraction", "drop in accuracy below which a head counts as dispensable"),
        _count("n_redundant", "heads whose drop is shown to be below the tolerance (upper bound below it)", "heads"),
        _count("n_needed", "heads whose drop is shown to be above it (lower bound above it)", "heads"),
        _count("n_undecided", "the others: these samples cannot tell", "heads"),
        _real("redundant", "fraction", "n_redundant / n_heads; of heads one at a time, not of all of them together"),
        _real("equal_p", "probability", "that all heads have the same drop: permutations of heads within folds"),
    ),
    ("n_redundant", "n_undecided", "tolerance"),
    "compare --summary redundancy",
)

CONTRAST = Schema(
    "contrast",
    "one head under two conditions on the same images",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("fill", "fill of the ablations compared"),
        TARGET,
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("a", "first condition, `shift/corruption:severity`"),
        _text("b", "second condition"),
        _text("scale", SCALE_NAMES),
        _real("value_a", "of the scale", "effect of removing the head under a; positive: it helped"),
        _real("value_b", "of the scale", "the same under b"),
        _real("diff", "of the scale", "value_b - value_a; positive: the head matters more under b"),
        _real("lo", "of the scale", "lower 95 % bound of diff, fold jackknife"),
        _real("hi", "of the scale", "upper 95 % bound of diff"),
        _real("p", "probability", "two-sided, t with 19 degrees of freedom"),
        _real("q", "probability", "p after Benjamini-Hochberg over the heads and conditions of the scale"),
        _count("n", "samples of each condition"),
    ),
    ("value_a", "value_b", "diff"),
    "compare --summary contrast",
)

ROUTING = Schema(
    "routing",
    "one head under one condition: its effect, split into its routing and its fixed part",
    (
        *(column for column in MEASURED if column.name not in ("step", "seed", "origin", "group", "label_set")),
        TARGET,
        _count("layer", "block, 0-based", ""),
        _count("head", "head, 0-based", ""),
        _text("scale", SCALE_NAMES),
        _real("total", "of the scale", "effect of `mean-flat`: the head's output exchanged for one vector"),
        *_interval("total", "of the scale"),
        _real("routing", "of the scale", "effect of `mean-map`: its map alone exchanged for the average one"),
        *_interval("routing", "of the scale"),
        _real("fixed", "of the scale", "total - routing: what it gives whatever it looks at; may be negative"),
        *_interval("fixed", "of the scale"),
        _real("donor", "of the scale", "effect of `donor-map`: its map exchanged for another image's", nullable=True),
        *_interval("donor", "of the scale", nullable=True),
        _count("n", "samples scored"),
        _text("class", "over all conditions of the table: `unused`, `static`, `routing` or `undecided`"),
        _real("q_unused", "probability", "that it is unused: total below the tolerance in all conditions; over heads"),
        _real("q_static", "probability", "static: routing and donor below it in all, total above it in some"),
        _real("q_routing", "probability", "routing: above it in some condition"),
        _real("images_needed", "samples", "about how many a condition would decide the head, if effects are as seen; "
              "empty where it is decided", nullable=True),
        _real("tolerance", "fraction", "of answers, or of the intact squared error"),
    ),
    ("total", "routing", "fixed"),
    "compare --summary routing",
)  # fmt: skip

TERMS = (
    _real("loss_class", "", "of the answers, where there are other terms beside it, each before its weight",
          nullable=True),
    _real("loss_attention", "", "of attention distilled from a teacher: squared scores, or nats", nullable=True),
    _real("loss_logits", "nats", "of logits distilled from a teacher, times temperature²", nullable=True),
    _real("loss_token", "nats", "of the distillation token", nullable=True),
    _real("loss_diversity", "", "of head diversity, as in DiverseViT: over H², not H (H - 1)", nullable=True),
    _real("head_overlap", "", "width times the mean squared cosine of different heads' input gradients; 1 by chance",
          nullable=True),
    _count("heads_left", "heads whose gates are open, where heads go in training", "heads", nullable=True),
    _real("heads_expected", "heads", "of learned gates the expected number that are open, which is what is paid for",
          nullable=True),
    _real("gradient_ratio", "", "norm of the weighted answers' gradient over that of all other terms, at the epoch's "
          "first update", nullable=True),
)  # fmt: skip
"""Terms of the loss; tables of older versions lack them."""

TRAIN = Schema(
    "train",
    "one epoch of a training run",
    (
        _text("model", "name of the checkpoint the run writes"),
        _count("epoch", "1-based", "epochs"),
        _count("step", "updates so far", "updates"),
        _count("steps_planned", "updates the schedule is laid out for", "updates"),
        _real("lr", "", "learning rate of the epoch's last update"),
        _real("train_loss", "nats", "mean training loss over the epoch, as optimised"),
        *TERMS,
        _count("n", "validation samples"),
        _count("n_correct", "validation samples answered right"),
        _real("top1", "fraction", "n_correct / n on the validation split"),
        _real("loss", "nats", "mean cross-entropy on the validation split"),
    ),
    ("steps_planned", "train_loss"),
    "train",
)

TRAIN_REGRESSION = Schema(
    "train_regression",
    "one epoch of a training run, for one target",
    (
        *TRAIN.columns[:5],
        _real("train_loss", "deviations²", "mean training loss over the epoch, as optimised, all targets"),
        *TERMS[:2],
        TERMS[-1],
        _text("target", "name of the target"),
        _count("n", "validation samples"),
        _real("mse", "deviations²", "mean squared error on the validation split, targets standardised"),
        _real("r2", "", "1 - mse / variance of the validation targets", nullable=True),
    ),
    ("steps_planned", "train_loss", "r2"),
    "train",
)

CALIBRATION = Schema(
    "calibration",
    "one confidence bin of one model under one condition",
    (
        *MEASURED,
        _count("bin", "0 to 14: confidences in (bin / 15, (bin + 1) / 15]", ""),
        _count("n", "samples in the bin"),
        _real("confidence_sum", "probability", "sum of the highest softmax probability"),
        _count("n_correct", "samples answered right"),
    ),
    ("bin", "confidence_sum"),
    "evalshift --calibration",
)

GROUPS = Schema(
    "groups",
    "one model, condition and attribute: how accuracy spreads over the groups of samples",
    (
        *(column for column in MEASURED if column.name not in ("group",)),
        _text("attribute", "what the samples are grouped by"),
        _count("n_groups", "groups with samples", "groups"),
        _count("n", "samples scored"),
        _real("top1", "fraction", "n_correct / n over all groups"),
        _text("worst", "value of the group with the lowest top-1"),
        _count("worst_n", "samples of that group"),
        _real("worst_top1", "fraction", "its top-1; the lowest of several, so its own interval flatters it"),
        *_interval("worst_top1", "fraction"),
        _real("mean_top1", "fraction", "mean of the groups' top-1, each counted alike"),
        _real("adjusted_top1", "fraction", "mean weighted by the groups' shares of the training split", nullable=True),
        *_interval("adjusted_top1", "fraction", nullable=True),
    ),
    ("attribute", "worst", "adjusted_top1"),
    "evalshift --summary groups",
)

MCE = Schema(
    "mce",
    "one corruption, one category (`all`, with the category) or all 15 (`all`, without) of one model",
    (
        _text("model", "name of the model"),
        _text("model_id", "hash of the model's weights"),
        _text("data", "name of the data set the samples come from"),
        _text("metric", "`mce`: AlexNet's errors, stored files; `mce_generated`: AlexNet's errors, generated "
              "images; `mce_normalised`: errors of a table; `mean_error`: no normaliser"),
        _text("category", "`noise`, `blur`, `weather`, `digital`; empty for all 15", nullable=True),
        _text("corruption", "name of the corruption, or `all` of the category or of the 15"),
        _text("normalised_by", "`alexnet`, or the table the errors are divided by", nullable=True),
        _real("ce", "fraction", "errors summed over severities / the normaliser's; mean over corruptions for `all`",
              nullable=True),
        _real("relative_ce", "fraction", "the same after the clean error is taken from each error", nullable=True),
        _real("error", "fraction", "mean top-1 error over severities (and corruptions)"),
        _real("lo", "fraction", "lower 95 % bound of ce (of error without a normaliser), fold jackknife",
              nullable=True),
        _real("hi", "fraction", "upper 95 % bound", nullable=True),
        _count("n_severities", "severities in each sum", ""),
        _text("frost", "origin of the frost condition: `stored`, `generated` or `procedural`"),
        _count("n", "samples of each condition"),
    ),
    ("relative_ce", "normalised_by"),
    "evalshift --summary mce",
)  # fmt: skip

SCHEMAS = {
    schema.name: schema
    for schema in (
        ESTIMATES,
        ESTIMATED,
        ABLATE_REGRESSION,
        EVALSHIFT_REGRESSION,
        MCE,
        GROUPS,
        OUTCOMES,
        VERSUS,
        ROLLUP,
        REDUNDANCY,
        CALIBRATION,
        EVALSHIFT,
        ABLATE,
        FOLDS,
        FOLDS_REGRESSION,
        PRUNE,
        HEADS,
        PAIRS,
        MATCHES,
        KINDS,
        PROBES,
        EXCLUSIVITY,
        COMPARE,
        SHIFTS,
        ROLES,
        METRICS,
        TRAJECTORY,
        EFFECTIVE,
        MODELS,
        ARMS,
        CONTRAST,
        ROUTING,
        TRAIN_REGRESSION,
        TRAIN,
    )
}


ADDED = (
    "score_lo", "score_hi", "target", "assigned", "groups", "n_classes", "estimate_lo", "estimate_hi", "exact_lo",
    "exact_hi",
    *(column.name for column in (*TERMS, *_by_answers())),
)  # fmt: skip
"""Columns that tables of older versions lack; they are read as empty."""


SHARED = 3
"""Columns that something must have of a table to be called near to it."""


def recognise(columns: list[str], where: str) -> Schema:
    """The schema of a table with these columns. Raises InputError naming what is missing."""
    found = [schema for schema in SCHEMAS.values() if set(schema.signature) <= set(columns)]
    if not found:
        raise InputError(f"{where}: is no vhs table: {_unlike(columns)}")
    schema = max(found, key=lambda schema: _likeness(schema, columns))
    missing = [name for name in schema.names if name not in columns and name not in ADDED]
    if missing:
        raise InputError(
            f"{where}: column `{missing[0]}` is missing from this {schema.name} table. `vhs {schema.writer}` writes it."
        )
    return schema


def _likeness(schema: Schema, columns: list[str]) -> float:
    """The share of all these names that columns and schema have in common."""
    return len(set(schema.names) & set(columns)) / len(set(schema.names) | set(columns))


def _unlike(columns: list[str]) -> str:
    """What is wrong with columns that no table has: which table they are nearest to, and what they lack of it."""
    nearest = max(SCHEMAS.values(), key=lambda schema: _likeness(schema, columns))
    missing = [name for name in nearest.names if name not in columns and name not in ADDED]
    if len(set(nearest.names) & set(columns)) < SHARED:
        return (
            f"it starts with {', '.join(columns[:4]):.200}, not with columns such as model, shift and severity. "
            f"Tables are {', '.join(SCHEMAS)}."
        )
    some = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
    article = "an" if nearest.name[0] in "aeiou" else "a"
    return (
        f"it is nearest to {article} {nearest.name} table, of which it lacks {some}. `vhs {nearest.writer}` writes one."
    )
