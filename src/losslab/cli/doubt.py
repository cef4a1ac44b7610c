"""`losslab doubt`: how likely the order of a paper's methods would be another with other images or seeds."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from losslab.cli.console import AsJson, cli_errors, print_json, print_table
from losslab.formats import format_percent, format_plural
from losslab.stage import print_line

if TYPE_CHECKING:
    from losslab.comparison.doubt import Spread
    from losslab.comparison.paper_table import PaperTable


@cli_errors()
def doubt(
    path: Annotated[Path, typer.Argument(metavar="TABLE", help="YAML or CSV file: method, mean, and what is stated.")],
    images: Annotated[int | None, typer.Option(min=1, help="Number of test images, whatever the file says.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Number of seeds of all methods, whatever the file says.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What the means are of: dice (default) or iou.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Comparable data: lesions, pets, streets, or typical (default).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how likely the order of each two methods of a paper would be another with other test images and other seeds."""
    from losslab.comparison.doubt import TYPICAL, doubt_table, find_spread
    from losslab.comparison.paper_table import read_paper_table

    table = read_paper_table(path, images, seeds, metric, like)
    kind = table.like or TYPICAL
    spread = find_spread(table.metric, kind)
    pairs = doubt_table(table.methods, table.images, spread)
    if as_json:
        facts = {"images": table.images, "metric": table.metric, "like": kind, "assumed": asdict(spread)}
        methods = [asdict(method) for method in table.methods]
        print_json(facts | {"methods": methods, "pairs": [asdict(pair) for pair in pairs]})
        return
    rows = [
        (
            f"{pair.better} over {pair.worse}",
            f"{100 * pair.gap:.1f} ± {100 * pair.error:.1f}",
            f"{format_percent(pair.reversal)} %",
            f"{format_percent(pair.wrong)} %",
        )
        for pair in pairs
    ]
    print_table(("pair", "points", "another order", "true order another"), rows)
    print_line(
        "another order: the probability that the order would be another with other test images and other seeds, as many as these"
    )
    print_line(_describe_assumed(table, kind, spread))


def _describe_assumed(table: "PaperTable", kind: str, spread: "Spread") -> str:
    """Say what of the spread is stated, and what is assumed."""
    methods = table.methods
    parts = [f"correlation {spread.correlation:.2f} of two methods on the same images"]
    if any(method.sd is None for method in methods):
        parts.append(f"SD {100 * spread.image_sd:.1f} points over images")
    if any(method.seed_sd is None for method in methods):
        parts.append(f"SD {100 * spread.seed_sd:.1f} points over seeds")
    if not table.states_seeds:
        parts.append("one seed where none is stated")
    metric = {"dice": "Dice", "iou": "IoU"}[table.metric]
    if not table.states_metric:
        parts.insert(0, f"{metric}, as no metric is stated (--metric)")
    return f"{metric} of {format_plural(table.images, 'test image')}; assumed ({kind} data): {', '.join(parts)}; losslab docs doubt"
