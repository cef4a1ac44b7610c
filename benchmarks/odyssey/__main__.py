"""`python -m benchmarks.odyssey collect | cost | repeat | page`: rows in results/odyssey/, and docs/explanation/odyssey.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.odyssey.tables import RESULTS
from losslab.errors import InputError, describe_error

COST_DATASETS = ("synthetic_nuclei", "synthetic_roads")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_options(arguments)
    try:
        options.act(options)
    except (InputError, OSError) as error:
        print(f"ERROR: {' '.join(describe_error(error).split())}", file=sys.stderr)
        return 1
    return 0


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.odyssey", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    collecting = commands.add_parser("collect", help="read the finished runs of the studies odyssey_KIND of a project")
    collecting.add_argument("kinds", nargs="+", metavar="KIND", help="such as lesions, for the study odyssey_lesions")
    collecting.add_argument("--project", type=Path, default=Path(), help="the folder that they ran in, by default this")
    collecting.set_defaults(act=collect_kinds)
    costing = commands.add_parser("cost", help="time a training step of each loss against one with cross entropy")
    costing.add_argument("datasets", nargs="*", default=COST_DATASETS, metavar="DATASET", help="cards of drawn data")
    costing.add_argument(
        "--study", default="odyssey_small", help="the study whose losses, first net and size are taken"
    )
    costing.add_argument("--rounds", type=int, default=5, help="pairs of each loss with cross entropy")
    costing.set_defaults(act=time_losses)
    repeating = commands.add_parser("repeat", help="train the run of a row again, and compare it to the last byte")
    repeating.add_argument("kind", metavar="KIND")
    repeating.add_argument("run", nargs="?", metavar="RUN", help="its name; without one, a run is drawn")
    repeating.add_argument("--draw", type=int, default=0, help="seed of the draw")
    repeating.add_argument("--record", action="store_true", help="note in repeated.csv that it was identical")
    repeating.set_defaults(act=repeat)
    paging = commands.add_parser("page", help="write docs/explanation/odyssey.md and its figure from results/odyssey/")
    paging.add_argument(
        "--check", action="store_true", help="write nothing; fail if the page is not what the rows give"
    )
    paging.set_defaults(act=make_page)
    return parser.parse_args(arguments)


def collect_kinds(options: argparse.Namespace) -> None:
    from benchmarks.odyssey.collect import collect

    for kind in options.kinds:
        for line in collect(kind, options.project, RESULTS):
            print(line, flush=True)


def time_losses(options: argparse.Namespace) -> None:
    from benchmarks.odyssey.cost import time_study

    time_study(options.study, options.datasets, options.rounds, Path(), RESULTS)


def repeat(options: argparse.Namespace) -> None:
    from benchmarks.odyssey.repeat import choose_run, record_repetition, repeat_run
    from benchmarks.odyssey.tables import read_kinds

    kinds = {kind.name: kind for kind in read_kinds(RESULTS)}
    if options.kind not in kinds:
        raise InputError(f"{options.kind}: {RESULTS} has no such kind of data; it has {', '.join(kinds)}")
    row = choose_run(kinds[options.kind], options.run, options.draw)
    repeated = repeat_run(kinds[options.kind], row, Path())
    if repeated.differences:
        raise InputError(f"{repeated.run} differs: {'; '.join(repeated.differences)}")
    if options.record:
        record_repetition(options.kind, row, RESULTS)
    print(f"identical: {repeated.run}, model {repeated.model_md5}, test mIoU {repeated.miou}")


def make_page(options: argparse.Namespace) -> None:
    from benchmarks.odyssey.page import check_page, write_page

    if options.check:
        check_page(Path())
    else:
        write_page(Path())


if __name__ == "__main__":
    sys.exit(main())
