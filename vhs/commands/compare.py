"""`vhs compare`: do the heads that matter here matter there? Tables in, tables out, no torch."""

from __future__ import annotations

from typing import Annotated

import typer

from vhs import completion, options, output
from vhs.errors import choices
from vhs.formats.schemas import COMPARE, CONTRAST

Tables = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TABLE]...", help="Ablation tables with their .folds.parquet beside them, or folds tables; what "
        "--summary takes; stdin when none is named.", show_default=False,
        autocompletion=completion.files(completion.TABLES),
    ),
]  # fmt: skip
Contrast = Annotated[
    str | None,
    typer.Option(
        "--contrast", metavar="FILE", help="Contrasts head by head; - sends them down the pipe instead.  "
        "[default: OUT.contrast.parquet with -o]",
    ),
]  # fmt: skip
Scales = Annotated[
    list[str] | None,
    typer.Option(
        "--scale",
        metavar="SCALE",
        autocompletion=completion.words(options.SCALES),
        help=f"{choices(options.SCALES)}; repeats.  [default: accuracy and loss; of targets error and relative_error]",
    ),
]
Summary = Annotated[
    str | None,
    typer.Option(
        "--summary", metavar="KIND", autocompletion=completion.words((*options.OF_FOLDS, *options.OF_SHIFT)),
        help="Of folds: contrast (head by head), rollup (heads over severities, categories, families), redundancy "
        "(how many are dispensable), shifts (which shifts the same heads serve), routing (where a head looks or what "
        "it passes on), trajectory (snapshots). Of shift tables: mce, groups, effective (robustness at equal clean "
        "accuracy). Of a heads table and an ablation: metrics (which measure goes with importance), roles (a name for "
        "each head), kinds (regions). Of heads and shift tables: models (recipes, seeds). Of probes: exclusivity. Of "
        "any tables of several seeds: arms (means over seeds, differences, and what so few seeds could have shown).",
    ),
]  # fmt: skip
Baselines = Annotated[
    str | None,
    typer.Option(
        "--baselines", metavar="TABLE", autocompletion=completion.files(completion.TABLES, ["published"]),
        help="Of --summary effective: clean and shifted accuracies of reference models, a CSV or Parquet table, or "
        "published (24 models of timm on ImageNet-Sketch).  [default: the table's other runs]",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    typer.Option(
        "--against", metavar="FILE", help="Of outcomes (ablate --per-sample): another model's, paired by sample."
    ),
]
Exact = Annotated[
    str | None,
    typer.Option("--exact", metavar="FILE", help="Of estimates (ablate --method taylor): the exact ablation table."),
]
Tolerance = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        min=0,
        max=1,
        help="Of --summary redundancy, kinds, routing, roles and arms (of prune tables): drop in accuracy, or "
        "share of squared error added "
        "(.005: half a point or percent), below which a head is dispensable.",
    ),
]
Attributes = Annotated[
    str | None,
    typer.Option(
        "--attributes", metavar="A,B", help="Of --summary exclusivity: the robust and the spurious attribute.  "
        "[default: robust,spurious]",
    ),
]  # fmt: skip
GroupBy = Annotated[
    str | None,
    typer.Option(
        "--group-by", metavar="REGEX", help="Of --summary arms: which part of a model's name is its arm (the first "
        "bracket); (?P<seed>…) or the rest is its seed.  [default: told-3 is seed 3 of told]",
    ),
]  # fmt: skip
Reference = Annotated[
    str | None, typer.Option("--reference", metavar="ARM", help="Of --summary arms: compare every other arm with it.")
]
Effect = Annotated[
    list[str] | None,
    typer.Option(
        "--effect", metavar="EXPR", help="Of --summary arms: 'told - alone', 'a - b - c + d', 'gain = 0.5 a + 0.5 b - "
        "c'; repeats.  [default: every two arms]",
    ),
]  # fmt: skip
What = Annotated[
    list[str] | None, typer.Option("--what", metavar="NAME", help="Of --summary arms: only this; repeats.")
]
Conditions = Annotated[
    list[str] | None,
    typer.Option("--condition", metavar="NAME", help="Of --summary arms: only under this: clean, mean, …; repeats."),
]
ChooseBy = Annotated[
    str | None,
    typer.Option(
        "--choose-by", metavar="TABLE", help="Of --summary arms: in 'told-* - alone-*' each arm is the best of those "
        "that fit, by accuracy (or R²) in this table of validation.",
        autocompletion=completion.files(completion.TABLES),
    ),
]  # fmt: skip
Across = Annotated[
    str | None,
    typer.Option(
        "--across", metavar="COLUMN", autocompletion=completion.words(options.ACROSS),
        help="Of --summary arms: compare layer, of or condition within every run, paired, instead of arms: "
        "--across layer --effect 'L5 - L0'.",
    ),
]  # fmt: skip
Paired = Annotated[
    bool, typer.Option("--paired", help="Of --summary arms: runs of one seed belong together (their beginning and the "
                       "order of their images are the same).")
]  # fmt: skip
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random halves and permutations.")]


def compare(
    tables: Tables = None,
    out: options.Out = None,
    contrast: Contrast = None,
    scale: Scales = None,
    partial: options.Partial = False,
    whole: options.Whole = False,
    form: options.Format = None,
    summary: Summary = None,
    tolerance: Tolerance = 0.005,
    normalise_by: options.NormaliseBy = None,
    baselines: Baselines = None,
    against: Against = None,
    exact: Exact = None,
    attributes: Attributes = None,
    group_by: GroupBy = None,
    reference: Reference = None,
    effect: Effect = None,
    what: What = None,
    condition: Conditions = None,
    choose_by: ChooseBy = None,
    across: Across = None,
    paired: Paired = False,
    seed: Seed = 0,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compare head importances, clean against each shift: rank correlation with its ceiling, and contrasts.

    Example: vhs ablate vit.safetensors --shift contrast --folds - | vhs compare

    Example: vhs compare heads.csv -o agreement.csv

    Example: vhs compare heads.csv --summary rollup -o rollup.csv

    Example: vhs compare heads.csv --summary shifts | vhs plot -o shifts.png

    Example: vhs compare looks.csv heads.csv --summary roles -o roles.csv

    Example: vhs compare regions.csv heads.csv --summary kinds -o kinds.csv

    Example: vhs compare a.outcomes.parquet --against b.outcomes.parquet

    Example: vhs compare shift.csv --summary mce --normalise-by baseline.csv -o mce.csv

    Example: vhs compare shift.csv --summary arms --reference alone -o arms.csv

    Example: vhs compare sketch.csv --summary effective --baselines published
    """
    console = options.console("compare", quiet=quiet, verbose=verbose, debug=debug)
    from vhs.arms.table import Study, left_out
    from vhs.figures.terminal import summary as in_words
    from vhs.formats.atomic import check_outputs
    from vhs.summaries import comparison
    from vhs.summary import Asked, of, read_all

    sources, instead = tables or ["-"], contrast == "-"
    asked = Asked(
        summary="contrast" if instead and summary is None else summary, scales=scale or [], tolerance=tolerance,
        normalise_by=normalise_by, baselines=baselines, against=against, exact=exact, seed=seed,
        attributes=attributes.split(",") if attributes else (),
        study=Study(
            group_by=group_by, reference=reference, effects=tuple(effect or ()), what=tuple(what or ()),
            conditions=tuple(condition or ()), choose_by=choose_by, across=across, paired=paired,
        ),
    ).check()  # fmt: skip
    wanted = of(asked)
    main = output.TableOutput(wanted.schema, out, form, in_words)
    beside = output.companion(CONTRAST, out, contrast, "contrast") if wanted.schema is COMPARE else None
    check_outputs(
        [out, beside.out if beside else None],
        [*(tables or []), *(name for name in (normalise_by, baselines, against, exact, choose_by) if name)],
    )  # fmt: skip
    read = options.reader(console, partial=partial, whole=whole)
    rows, asked = read_all(sources, asked, read)
    with console.progress() as progress:
        made = wanted.make(rows, asked, read, progress)
        main.add(made)
        if beside:
            beside.add(comparison.contrasts(rows, asked.scales))
    for line in left_out(rows, made, asked.study) if wanted.any_kind else ():
        console.note(line)
    for name in comparison.unpaired_shifts(rows) if wanted.schema in (COMPARE, CONTRAST) else ():
        console.note(
            f"{name}: was measured on other samples than clean: correlations only, since contrasts pair by image"
        )
    output.finish(main, beside)
