"""The studies of the five notebooks, cut to a small machine: `python -m benchmarks.notebooks collect STUDY… | page`.

`collect` writes results/notebooks/STUDY.csv, a row for each cell with the notebook's numbers and ours, and the study's row of
studies.csv; `page` writes docs/explanation/notebooks.md from these files and the heads of the studies' files.
"""

import argparse
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.odyssey.collect import measure_data
from benchmarks.odyssey.tables import read_table, replace_row, write_command
from losslab.comparison.compare import compare_runs
from losslab.comparison.cost import CostMeter
from losslab.comparison.result import Comparison
from losslab.comparison.selection import RunSelection, select_study
from losslab.errors import InputError, describe_error
from losslab.io.files import parse_number, write_csv, write_text
from losslab.reporting.comparison.ranking import build_lines
from losslab.study.overrides import flatten_overrides
from losslab.study.plan import Study
from losslab.study.spec import Scalar, format_label
from losslab.study.state import StudyState, find_study

ROOT = Path()
RESULTS, PAGE = Path("results/notebooks"), Path("docs/explanation/notebooks.md")
STUDIES = "studies.csv"
THEIRS = "theirs "
"""Beginning of the columns with a notebook's numbers."""
COMMAND = "PYTHONPATH=. python -m benchmarks.notebooks"
IRRELEVANT = {("download", "source"), ("encoder_weights",)}
"""Params that are no cut: where the files lie, and what the table of cells shows."""
NOTHING_KNOWN = "0.000", "1.000"
"""Ends of an interval that says nothing."""
Row = dict[str, str]


def collect(key: str, project: Path) -> str:
    """Write the rows of a finished study, by its alias or name; return a line that says what there is."""
    study = find_study(key, project)
    if study.card.published is None:
        raise InputError(f"studies/{study.name}.yaml has no published numbers to stand beside")
    selection = select_study(study, "miou", project)
    with selection.open_evidence() as evidence:
        comparison = compare_runs(evidence, selection.spec, CostMeter(timed=False))
    write_csv(RESULTS / f"{study.name}.csv", list_cells(comparison))
    command = write_command(*StudyState(project, key).read_origin())
    images = measure_data(selection.records[0][0], project).images
    about = describe_study(study, selection, comparison, images) | {"command": command}
    replace_row(RESULTS / STUDIES, about, "study")
    return f"{study.name}: {about['runs']} runs of {study.number_of_runs}"


def list_cells(comparison: Comparison) -> list[Row]:
    """List the cells, the best first, with the notebook's numbers where it has the cell."""
    published = comparison.published
    assert published is not None
    columns = list(dict.fromkeys(name for row in published.rows for name in row.values))
    rows = []
    for cell, line in zip(comparison.cells, build_lines(comparison), strict=True):
        low, high = line.interval or (None, None)
        nearest = [run.like_published for run in cell.runs if run.like_published is not None]
        row = {**cell.labels, "seeds": str(line.seeds)}
        row |= {
            name: _format(value) for name, value in zip(("miou", "low", "high"), (line.mean, low, high), strict=True)
        }
        row["nearest"] = _format(sum(nearest) / len(nearest)) if nearest else ""
        # A notebook may have left an axis out: then its number stands beside each cell that fits.
        theirs = next((each.values for each in published.rows if _fits(each.cell, cell.labels)), dict[str, float]())
        rows.append(row | {THEIRS + name: f"{theirs[name]:.4g}" if name in theirs else "" for name in columns})
    return rows


def describe_study(study: Study, selection: RunSelection, comparison: Comparison, images: int) -> Row:
    """Describe what was run, on what (so many training images), and what came of it."""
    published, params, records = study.card.published, study.params, [record for record, _ in selection.records]
    assert published is not None
    seconds = sum((record.train_seconds or 0) * (record.threads or 1) for record in records)
    return {
        "study": study.name,
        "title": study.card.title,
        "question": " ".join(study.card.question.split()),
        "source": published.source,
        "how": published.how,
        "metric": published.metric,
        "nearest": comparison.published_metric.title if comparison.published_metric is not None else "",
        "dataset": str(params["dataset"]),
        "size": str(params["prepare"]["size"]),
        "epochs": str(params["train"]["epochs"]),
        "train_images": str(images),
        "steps": str(params["train"]["epochs"] * math.ceil(images / params["train"]["batch_size"])),
        "test_images": str(comparison.images),
        "runs": str(len(records)),
        "cuts": "; ".join(list_cuts(study)),
        "verdict": " ".join(comparison.headline),
        "training_hours": f"{seconds / 3600:.2f}",
        "commit": "; ".join(sorted({(record.baseline or "")[:10] for record in records})),
        "hardware": "; ".join(sorted({record.hardware for record in records if record.hardware})),
    }


def list_cuts(study: Study) -> list[str]:
    """List what `--set` changed in the study's file: `prepare.size 64 instead of 256`."""
    own = flatten_overrides(study.card.params, "params")
    cuts = []
    for path, value in study.overrides.items():
        if path not in IRRELEVANT:
            before = f" instead of {format_label(own[path])}" if path in own else ""
            cuts.append(f"{'.'.join(path)} {format_label(value)}{before}")
        elif path == ("encoder_weights",) and value is None:
            cuts.append("random weights instead of ImageNet's")
    return cuts


def build_page() -> str:
    """Build the page from the committed rows. Raises InputError: there are none, or a table lacks something."""
    columns = ("study", "title", "verdict", "cuts", "nearest", "train_images", "steps", "training_hours", "command")
    studies = read_table(RESULTS / STUDIES, columns, f"`{COMMAND} collect STUDY` writes it")
    parts = [
        f"<!-- Written by `{COMMAND} page` from results/notebooks/: change those, or the studies' files. -->",
        "# The notebooks' studies, measured again",
        "losslab grew from five notebooks and reports. Their questions are [studies](../how-to/studies.md) that ship with "
        "it, whose full size needs a GPU and images that cannot be had everywhere. Here they are cut to two cores and to "
        "the images that were at hand. Each number of ours is a mean over seeds on test images that no net has seen, with "
        "its 95 % interval where one is known; ± is the standard deviation over seeds. **Compare the order within a column, "
        "and not the numbers of two columns**: what was done differently is listed below each table.",
    ]
    parts += [part for row in studies for part in describe_result(row)]
    return "\n\n".join(parts) + "\n"


def describe_result(about: Row) -> list[str]:
    """Describe one study: the question, the table, what was cut, and what cannot be compared."""
    remedy = f"`{COMMAND} collect {about['study']}` writes it"
    rows = read_table(RESULTS / f"{about['study']}.csv", ("seeds", "miou", "low", "high", "nearest"), remedy)
    parts = [f"## {about['title']}", about["question"], about["verdict"], "\n".join(build_table(about, rows))]
    cuts = [*about["cuts"].split("; "), f"trained on {about['train_images']} images ({about['steps']} steps)"]
    cuts.append(f"tested on {about['test_images']} of `{about['dataset']}`")
    absent = " PH2, which is given out by a form, was not at hand." if "instead of ph2" in about["cuts"] else ""
    notes = "\n".join(f"- {note}" for note in read_header(Path("studies") / f"{about['study']}.yaml"))
    parts += [f"**Cut down here**: {', '.join(filter(None, cuts))}.{absent}"]
    parts += [
        f"**The notebook**: {about['source']}; {about['how']}. What it did differently from the study at full size:",
        notes,
    ]
    cost = f"{about['runs']} runs, {about['training_hours']} core hours of training"
    machine = f"{about['hardware']}, commit {about['commit']}"
    key = about["command"].partition(" --as ")[2] or about["study"]
    return [*parts, f"{cost}, {machine}:", f"```sh\n{about['command']}\n{COMMAND} collect {key}\n```"]


def build_table(about: Row, rows: Sequence[Row]) -> list[str]:
    """Build the lines of the table: the cells' labels, the notebook's numbers, and ours."""
    columns = list(rows[0])
    axes, theirs = columns[: columns.index("seeds")], [name for name in columns if name.startswith(THEIRS)]
    heads = [*axes, *(f"notebook's {name.removeprefix(THEIRS)}" for name in theirs), "our mIoU (95 % interval)"]
    nearest = bool(about["nearest"] and about["nearest"] != "mIoU")
    heads += [f"our {about['nearest']}"] if nearest else []
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        is_known = row["low"] and (row["low"], row["high"]) != NOTHING_KNOWN
        ours = f"{row['miou']} ({row['low']} to {row['high']})" if is_known else row["miou"]
        cells = [*(row[name] for name in (*axes, *theirs)), ours, *([row["nearest"]] if nearest else [])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def read_header(path: Path) -> list[str]:
    """Read the items of a list in the comment at the head of a study's file."""
    lines = [line[2:].rstrip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    items = re.split(r"^- ", "\n".join(lines), flags=re.MULTILINE)[1:]
    return [" ".join(item.split()) for item in items]


def _fits(wanted: Mapping[str, Scalar], labels: Mapping[str, str]) -> bool:
    return {axis: format_label(value) for axis, value in wanted.items()}.items() <= labels.items()


def _format(value: float | None) -> str:
    return "" if value is None or parse_number(str(value)) != value else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notebooks", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    collecting = commands.add_parser("collect", help="read the finished runs of studies of a project")
    collecting.add_argument("studies", nargs="+", metavar="STUDY", help="a study, or the alias it was run with")
    collecting.add_argument("--project", type=Path, default=ROOT, help="the folder that they ran in, by default this")
    commands.add_parser("page", help=f"write {PAGE} from {RESULTS}/")
    options = parser.parse_args(arguments)
    try:
        if options.command == "page":
            write_text(PAGE, build_page())
        else:
            for key in options.studies:
                print(collect(key, options.project), flush=True)
    except (InputError, OSError) as error:
        print(f"ERROR: {' '.join(describe_error(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
