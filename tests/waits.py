"""Where the host may wait for a GPU, for the tests on fake ones."""

from __future__ import annotations

from tests.fake_cuda import READ, TO_DEVICE, TO_HOST, Wait

TABLES = {
    Wait(f"shifts/{place}", TO_DEVICE)
    for place in (
        "blur.py:_scan", "digital.py:_box", "digital.py:_corners", "digital.py:_nearest", "fields.py:normal_table",
        "fields.py:poisson_table", "filters.py:_spectrum", "filters.py:blur_matrix", "splines.py:enlargements",
        "splines.py:to_splines", "textures.py:Textures._place", "textures.py:Textures.pixels_P3",
    )
} | {Wait("models/model.py:_levels", TO_DEVICE)}  # fmt: skip
ALLOWED = {
    "a table that a device gets once and keeps": TABLES,
    "JPEG is encoded and decoded on the host, by the library that made the published files": {
        Wait("shifts/digital.py:jpeg_compression", TO_HOST), Wait("shifts/digital.py:jpeg_compression", TO_DEVICE),
    },
    "a condition is over: its tallies are read, once": {
        Wait("measures/scoring.py:Tally.counts", TO_HOST), Wait("measures/evaluation.py:Scores.sums", TO_HOST),
        Wait("measures/evaluation.py:Scores.bins", TO_HOST), Wait("measures/ablation.py:HeadAblation._pack", TO_HOST),
        Wait("measures/pruned.py:PrunedEvaluation.results", TO_HOST),
    },
    "a condition begins: which of the model's outputs its classes are": {
        Wait("measures/views.py:plain", TO_DEVICE),
    },
    "a run begins: one tile is moved about and compared": {
        Wait("measures/steadiness.py:is_steady", READ), Wait("measures/steadiness.py:is_steady", TO_DEVICE),
    },
    "a condition begins: the maps of a network are tried on two images of noise": {
        Wait("measures/routes.py:Routes.__init__", TO_DEVICE), Wait("models/maps.py:passes_averages_on", READ),
        Wait("models/maps.py:_sums_to_one", READ),
    },
    "an epoch begins: its order": {Wait("training/feed.py:_batches", TO_DEVICE)},
    "losses were finite: asked every 50 updates, and before anything is saved": {
        Wait("training/loop.py:TrainingState.first_bad_step", READ),
    },
    "an epoch is over: its mean loss goes into the log": {
        Wait("fitting/training.py:Training._finish_epoch", READ), Wait("training/loop.py:TrainingState.terms", READ),
        Wait("training/gates.py:open_heads", TO_HOST),
    },
    "`info` times a product, and waits for it": {Wait("runs/runtime.py:product_rate", READ)},
}  # fmt: skip
"""Every place where the host may wait for a GPU, and why it must. A wait anywhere else fails the tests."""
LISTED = set().union(*ALLOWED.values())
EVERY_BATCH = ALLOWED["JPEG is encoded and decoded on the host, by the library that made the published files"]
"""What may wait in every batch, with all tables there."""
