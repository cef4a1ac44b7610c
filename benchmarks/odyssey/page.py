"""docs/explanation/odyssey.md and its figure, made of the rows in results/odyssey/ alone."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from benchmarks.odyssey.effects import POINT
from benchmarks.odyssey.figure import draw_intervals
from benchmarks.odyssey.findings import UNFOUND, Findings, explain_doubt
from benchmarks.odyssey.respects import write_respects
from benchmarks.odyssey.tables import (
    COLLECT,
    COST,
    COST_COLUMNS,
    REPEATED,
    REPEATED_COLUMNS,
    RESULTS,
    Kind,
    Row,
    get_number,
    read_kinds,
    read_table,
)
from benchmarks.odyssey.wording import (
    fold,
    join_losses,
    name_loss,
    name_precision,
    write_mean,
    write_points,
    write_ranks,
    write_table_lines,
)
from losslab.advice.choice import BASELINE
from losslab.advice.regret import MIN_KINDS, measure_regret, summarise_regret
from losslab.errors import InputError
from losslab.formats import format_list, format_plural
from losslab.io.files import write_text

PAGE, FIGURE = Path("docs/explanation/odyssey.md"), Path("docs/pictures/odyssey.svg")
COMMAND = "PYTHONPATH=. python -m benchmarks.odyssey page"
REPEAT = "PYTHONPATH=. python -m benchmarks.odyssey repeat"
THIN_PX = 1.5
"""Mean width of a class, in pixels, below which its lines do not stay whole when masks are shrunk."""
DEAR = 1.1
"""Ratio to cross entropy's step from which on a loss is called dearer."""


def write_page(root: Path) -> None:
    """Write the page and its figure. Raises InputError if a table is missing, or lacks a column."""
    findings = Findings(read_kinds(root / RESULTS))
    text = render_page(findings, root)
    draw_intervals(findings.kinds, findings.order, root / FIGURE)
    write_text(root / PAGE, text)


def check_page(root: Path) -> None:
    """Raise InputError if the page or its figure is not what the rows give."""
    findings = Findings(read_kinds(root / RESULTS))
    with tempfile.TemporaryDirectory() as name:
        figure = Path(name, FIGURE.name)
        draw_intervals(findings.kinds, findings.order, figure)
        made = {PAGE: render_page(findings, root).encode(), FIGURE: figure.read_bytes()}
    for path, content in made.items():
        if not (root / path).is_file() or (root / path).read_bytes() != content:
            raise InputError(f"{path} is not what {RESULTS}/ gives: write it again with `{COMMAND}`")


def render_page(findings: Findings, root: Path) -> str:
    """Render the page as Markdown."""
    parts = [
        write_head(findings),
        write_summary(findings),
        write_overview(findings),
        *(write_kind(findings, kind) for kind in findings.kinds),
        write_respects(findings),
        write_failures(findings),
        write_cost(root / RESULTS / COST),
        write_regret(root / RESULTS, findings),
        write_method(findings),
        write_repeated(root / RESULTS / REPEATED, findings.kinds),
    ]
    return "\n".join(line for part in parts for line in [*part, ""] if line is not None).rstrip() + "\n"


def write_head(findings: Findings) -> Iterator[str]:
    """Yield the title, and what was done."""
    kinds = findings.kinds
    yield f"<!-- Written by `{COMMAND}` from {RESULTS}/*.csv: change those, not this page. -->"
    yield "# Which loss? The odyssey"
    yield ""
    nets = format_list([f"`{net}`" for net in findings.nets])
    rates = f"the best on validation images of {format_list(findings.rates)}" if findings.rates else "the same for all"
    yield (
        f"{format_plural(len(findings.order), 'loss', 'losses')} on {format_plural(len(kinds), 'kind')} of data "
        f"({format_list([kind.title for kind in kinds], 9)}), each with {len(findings.nets)} nets ({nets}) and "
        f"{findings.seeds} seeds: {findings.count('runs'):,} runs, {findings.hours} CPU hours. Each loss on each net "
        f"had its own learning rate, {rates}; a loss that is no use alone has a partner."
    )
    yield ""
    yield (
        "A difference is *real* if it is shown to hold for other seeds and other test images too ([how](verdicts.md)). Each kind "
        f"of data is asked two questions: which losses differ at all ({findings.number_of_pairs} pairs), and which differ from "
        f"`cross_entropy` ({len(findings.order) - 1} pairs). For each question, about 5 of 100 studies of losses that do "
        "not differ would claim a difference. The more pairs a question has, the larger a difference must be to be claimed, so the "
        "second shows smaller ones. A loss is *not shown to be worse* if neither question finds one that is really better: it need "
        "not be good."
    )


def write_summary(findings: Findings) -> Iterator[str]:
    """Yield what to take home."""
    yield "## In short"
    yield ""
    yield from (f"- {line}" for line in findings.list_lessons())
    if unfinished := [kind for kind in findings.kinds if int(kind.about["missing"])]:
        lacking = format_list([f"{kind.title} ({kind.about['missing']} runs)" for kind in unfinished])
        yield f"- **Not finished**: runs are missing of {lacking}; what is said of them may change."
    yield ""
    header = [
        "data",
        "best mean IoU",
        "nor shown to be worse",
        "really worse than some",
        "gains over `cross_entropy` are known to",
    ]
    yield from write_table_lines(header, map(findings.summarize_kind, findings.kinds))


def write_overview(findings: Findings) -> Iterator[str]:
    """Yield the table of losses and kinds of data, and the figure."""
    kinds = findings.kinds
    yield "## All losses on all kinds of data"
    yield ""
    yield (
        "Points of mean IoU below the best mean of each column, both nets averaged. **Bold**: not shown to be "
        "worse, so differences among bold ones mean nothing by themselves."
    )
    yield ""
    for kind in kinds:
        if not kind.is_judged:
            yield f"On {kind.title} {explain_doubt(kind)}; so nothing is bold, and it does not count in the last column."
            yield ""
    header = ["loss", *(kind.title for kind in kinds), "average", "not shown to be worse on"]
    rows = []
    for loss in findings.order:
        cells = [findings.describe_gap(kind, loss) for kind in kinds]
        cells.append(write_points(-findings.distances[loss]))
        rows.append([name_loss(loss), *cells, f"{len(findings.find_leading_kinds(loss))} of {len(findings.judged)}"])
    yield from write_table_lines(header, rows)
    yield ""
    yield f"![Mean IoU of each loss with its interval, a panel for each kind of data](../pictures/{FIGURE.name})"
    yield ""
    yield (
        "In colour: not shown to be worse. Each interval is of one mean alone, over other seeds and other test "
        "images; test images are shared, so two losses may differ really although their intervals overlap."
    )
    if (sentence := findings.describe_ranks()) is not None:
        yield ""
        yield sentence
    yield ""
    yield from ("```sh", COMMAND, "```")


def write_kind(findings: Findings, kind: Kind) -> Iterator[str]:
    """Yield what is known of one kind of data: the losses in order, and how to run it again."""
    about = kind.about
    yield f"## {kind.title[0].upper()}{kind.title[1:]}"
    yield ""
    images, classes = format_plural(int(about["test_images"]), "test image"), int(about["classes"])
    if about.get("images"):
        images = f"{format_plural(int(about['images']), 'training image')}, {images}"
    if about["test_groups"]:
        images += f" of {format_plural(int(about['test_groups']), 'group')}"
    rare = f", {about['rare_class']} the rarest" if about["rare_class"] else ""
    yield f"`{about['dataset']}` ({about['title']}) at {about['size']} pixels: {classes} classes{rare}; {images}."
    if facts := findings.describe_data(kind):
        yield facts
    yield ""
    yield from findings.describe_kind(kind)
    yield ""
    legend = (
        "Bold are ranks and scores of losses that are not shown to be worse, and gains that are real. Two losses are told "
        "apart if one has the rank of the other in *really better than*; no other two are."
    )
    yield from fold(f"All losses on {kind.title}, in order", [legend, "", *write_kind_table(kind)])
    yield ""
    yield (
        f"[Rows of all runs](../../{RESULTS}/{kind.name}.runs.csv), "
        f"[verdicts](../../{RESULTS}/{kind.name}.verdicts.csv), from:"
    )
    yield ""
    yield from ("```sh", about["command"], f"{COLLECT} {kind.name}", "```")


def write_kind_table(kind: Kind) -> Iterator[str]:
    """Yield the losses of one kind of data in order, with intervals and what they gain over cross entropy."""
    gain = "points over `cross_entropy` [95 % for all at once]"
    header = ["", "loss", "mean IoU [95 % interval]", "really better than", gain, "boundary IoU"]
    others = {"boundary_iou": {row["loss"]: row for row in kind.list_standings("boundary_iou")}}
    if kind.rare_metric is not None:
        others[kind.rare_metric] = {row["loss"]: row for row in kind.list_standings(kind.rare_metric)}
        header.append(f"IoU of {kind.about['rare_class']}")
    ranks, rows = {row["loss"]: int(row["rank"]) for row in kind.list_standings("miou")}, []
    for row in kind.list_standings("miou"):
        mark = f"**{row['rank']}**" if row["loss"] in kind.list_leading() else row["rank"]
        beaten = write_ranks([ranks[worse] for better, worse in kind.find_beaten() if better == row["loss"]])
        scores = [_write_other(each.get(row["loss"]), kind) for each in others.values()]
        rows.append([mark, name_loss(row["loss"]), write_mean(row), beaten, _write_gain(row), *scores])
    return write_table_lines(header, rows)


def _write_other(row: Row | None, kind: Kind) -> str:
    if row is None:
        return "–"
    text = write_mean(row, with_interval=False)
    return f"**{text}**" if row["loss"] in kind.list_leading(row["metric"]) else text


def _write_gain(row: Row) -> str:
    if not row["gain"]:
        return ""
    gain, low, high = (write_points(get_number(row, name) / POINT) for name in ("gain", "gain_low", "gain_high"))
    text = f"{gain} [{low}, {high}]" if row["gain_low"] else gain
    return f"**{text}**" if row["gain_real"] == "yes" else text


def write_failures(findings: Findings) -> Iterator[str]:
    """Yield where losses fail: runs that diverged, classes that no run found, last places."""
    yield "## Where they fail"
    yield ""
    rows = list(findings.list_failures())
    if not rows:
        yield "No run failed, and every loss found every class."
        return
    yield (
        "*Failed*: runs that ended in an error, such as a loss that was not finite; the rate may have been too high "
        f"for it. *Never found*: classes whose IoU on test is below {UNFOUND} in every run of a net. *Last*: on which "
        "data its mean is the lowest, and really worse than some."
    )
    yield ""
    yield from write_table_lines(["loss", "failed", "never found", "last"], rows)


def write_cost(path: Path) -> Iterator[str]:
    """Yield what a step costs with each loss, if that was measured."""
    yield "## What a training step costs"
    yield ""
    command = "PYTHONPATH=. python -m benchmarks.odyssey cost"
    if not path.exists():
        yield f"Not measured yet: `{command}`."
        return
    rows = read_table(path, COST_COLUMNS, f"write it again with `{command}`")
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    ratios = {loss: [get_number(row, "ratio") for row in rows if row["loss"] == loss] for loss in _list_losses(rows)}
    cheap = [loss for loss, known in ratios.items() if max(known) < DEAR]
    dear = sorted((loss for loss in ratios if loss not in cheap), key=lambda loss: -max(ratios[loss]))
    first = rows[0]
    spread = median((get_number(row, "highest") - get_number(row, "lowest")) / 2 for row in rows)
    yield (
        f"Times a step with cross entropy, net and optimizer included: `{first['net']}`, batches of "
        f"{first['batch_size']} images of {first['size']} pixels, {first['threads']} thread of {first['hardware']}, "
        f"{name_precision(first['precision'])}; processor time, pairs of steps in turn in one process, lowest and highest of "
        f"the rounds in brackets. Rounds of one loss typically spread by ±{spread:.2f}, so smaller differences mean nothing. "
        "A larger net makes the ratios smaller; on a GPU they have not been measured."
    )
    yield ""
    yield (
        f"{len(cheap)} of {len(ratios)} cost less than {DEAR:g} times as much everywhere. The dearest: "
        f"{_write_dear(dear[:3], ratios)}."
    )
    yield ""
    table = []
    for loss in sorted(ratios, key=lambda loss: max(ratios[loss])):
        own = {row["dataset"]: row for row in rows if row["loss"] == loss}
        cells = [
            f"{own[d]['ratio']} ({own[d]['lowest']} to {own[d]['highest']}), {own[d]['ms']} ms" if d in own else "–"
            for d in datasets
        ]
        table.append([name_loss(loss), *cells])
    counts = {row["dataset"]: row["classes"] for row in rows}
    header = ["loss", *(f"{dataset}, {counts[dataset]} classes" for dataset in datasets)]
    yield from fold("All losses by cost", write_table_lines(header, table))
    yield ""
    yield from ("```sh", command, "```")


def _list_losses(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["loss"] for row in rows))


def _write_dear(losses: Sequence[str], ratios: dict[str, list[float]]) -> str:
    parts = []
    for loss in losses:
        low, high = min(ratios[loss]), max(ratios[loss])
        parts.append(
            f"{name_loss(loss)} ({low:.1f} to {high:.1f} times)"
            if low < high
            else f"{name_loss(loss)} ({high:.1f} times)"
        )
    return format_list(parts) or "none"


def write_regret(folder: Path, findings: Findings) -> Iterator[str]:
    """Yield what the advice of `losslab advise` loses on data that it has not seen, against a loss that is always taken."""
    yield "## What `losslab advise` is worth"
    yield ""
    if len(findings.kinds) < MIN_KINDS:
        yield f"Its regret takes {MIN_KINDS} kinds of data: there are {len(findings.kinds)} yet."
        return
    rows = measure_regret(folder)
    yield (
        "Each kind of data is left out in turn, and advised on by the others. A column says how many points of mean IoU a choice "
        "loses against the loss that was best there, in hindsight and partly by chance; the last one, how far seeds alone move "
        f"the difference of two losses. {summarise_regret(rows)}"
    )
    yield ""
    header = [
        "data",
        "advised",
        "first",
        "best of three",
        f"always `{BASELINE}`",
        "favourite of the others",
        "by seeds alone",
    ]
    yield from write_table_lines(
        header,
        [
            [
                row.kind.replace("_", " "),
                join_losses(row.advised),
                *(f"{number:.1f}" for number in (row.first, row.best_of_three, row.baseline)),
                f"{row.average:.1f} ({name_loss(row.favourite)})",
                f"{row.noise:.1f}",
            ]
            for row in rows
        ],
    )
    yield ""
    yield "`losslab advise DATASET` chooses three losses for your own data: [how](../how-to/advise.md)."


def write_method(findings: Findings) -> Iterator[str]:
    """Yield how all was measured, and its limits."""
    yield "## How far to trust this"
    yield ""
    sizes, epochs = (findings.describe_range(column) for column in ("size", "epochs"))
    drawn = [kind.title for kind in findings.kinds if kind.about["dataset"].startswith("synthetic_")]
    yield (
        f"- Small: images of {sizes} pixels, small nets, {epochs} epochs, {findings.seeds} seeds. Larger nets and "
        "longer training may change the order; `studies/odyssey.yaml` is the same study for a GPU."
    )
    if drawn:
        yield f"- Drawn data ({format_list(drawn, 9)}) are cleaner than photographs, and their masks have no errors."
    if broken := [kind for kind in findings.kinds if get_number(kind.about, "thinnest_px") < THIN_PX]:
        pieces = [f"{get_number(kind.about, 'objects_per_image'):.0f} on {kind.title}" for kind in broken]
        yield (
            f"- Thin lines are broken: masks are shrunk to {sizes} pixels by taking nearest pixels, so that a line of less than "
            f"{THIN_PX:g} pixels falls into pieces ({format_list(pieces, 9)} in a mean image, other objects counted). What losses "
            "on connected structures, such as `cldice` and `topology`, do for whole lines is not seen here."
        )
    yield (
        "- Differences smaller than the interval mean nothing, and *not told apart* is not *equal*: with so many "
        f"pairs and {findings.seeds} seeds only large differences can be shown."
    )
    yield (
        "- Losses have the options that losslab ships, and partners the weights named here; only the learning rate "
        f"was tuned{findings.describe_highest_rate()}."
    )
    yield (
        "- Mean IoU decides here. Boundary IoU and the IoU of a class are judged in the same way; recall of small "
        "objects and ECE are compared over seeds alone, so those statements hold for these test images."
    )
    for hardware in findings.list_hardware():
        yield f"- {hardware}"
    yield ""
    yield "To repeat one kind of data, run its command, then:"
    yield ""
    yield from ("```sh", f"{COLLECT} KIND       # rows and verdicts", f"{COMMAND}               # this page", "```")
    yield ""
    yield (
        f"`{REPEAT} KIND [RUN]` trains the run of one row again, at its commit, and compares the model's MD5 and the "
        "scores with the row; on a processor of another kind the last bits differ."
    )


def write_repeated(path: Path, kinds: Sequence[Kind]) -> Iterator[str]:
    """Yield which runs were repeated and identical, of those whose rows are still the same; nothing where none was."""
    rows = read_table(path, REPEATED_COLUMNS, f"write it again with `{REPEAT} KIND --record`") if path.is_file() else []
    models = {(row["run"], row["model_md5"]) for kind in kinds for row in kind.runs}
    if pieces := [f"`{row['run']}`" for row in rows if (row["run"], row["model_md5"]) in models]:
        yield f"Repeated so, and identical: {format_list(pieces, len(pieces))}."
