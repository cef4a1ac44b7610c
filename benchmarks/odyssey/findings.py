"""What the rows of all kinds of data say together, as numbers and sentences that rules write, so nobody's taste does."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import mean, median

import numpy as np

from benchmarks.odyssey.effects import POINT
from benchmarks.odyssey.tables import REFERENCE, Kind, Row, get_number, split_names
from benchmarks.odyssey.wording import join_losses, name_loss, name_precision, write_mean, write_points
from losslab.advice.choice import BASELINE
from losslab.comparison.ranks import rank_cells
from losslab.comparison.verdicts import MIN_UNITS
from losslab.formats import format_list, format_p_statement, format_percent, format_plural, format_score

MIN_RANKED_KINDS = 5
MAX_UNFOUND = 3
"""Classes beyond which they are counted, not named."""
UNFOUND = 0.05
"""IoU below which a class is called never found."""
MEASURES = ("foreground_share", "rarest_share", "border_share", "objects_per_image", "thinnest_px")
"""Columns of datasets.csv that describe the data."""


@dataclass(frozen=True)
class Findings:
    """All kinds of data that have results."""

    kinds: Sequence[Kind]

    @cached_property
    def gaps(self) -> dict[str, dict[str, float]]:
        """Kind → loss → points of mean IoU below the best mean, of the losses that are judged."""
        gaps = {}
        for kind in self.kinds:
            means = {row["loss"]: get_number(row, "mean") for row in kind.list_standings("miou")}
            gaps[kind.name] = {loss: (max(means.values()) - value) / POINT for loss, value in means.items()}
        return gaps

    @cached_property
    def distances(self) -> dict[str, float]:
        """Loss → mean points below the best over kinds of data; where it is not judged, the greatest of the kind counts."""
        losses = dict.fromkeys(loss for kind in self.kinds for loss in kind.losses)
        return {loss: mean(each.get(loss, max(each.values())) for each in self.gaps.values()) for loss in losses}

    @cached_property
    def order(self) -> list[str]:
        """All losses, those that are nearest to the best on average first."""
        return sorted(self.distances, key=lambda loss: (self.distances[loss], loss))

    @cached_property
    def nets(self) -> list[str]:
        return list(dict.fromkeys(net for kind in self.kinds for net in split_names(kind.about["nets"])))

    @cached_property
    def judged(self) -> list[Kind]:
        """The kinds of data on which losses can be told apart."""
        return [kind for kind in self.kinds if kind.is_judged]

    @property
    def seeds(self) -> str:
        return self.describe_range("seeds")

    @cached_property
    def rates(self) -> list[str]:
        """The learning rates that were tried."""
        rates = {row["lr"] for kind in self.kinds for row in kind.runs} - {""}
        return sorted(rates, key=lambda rate: float(rate.split()[0]))

    def describe_highest_rate(self) -> str:
        """Say how often the highest learning rate was the best of those tried: often, if the rates are too low."""
        if not self.rates:
            return ""
        chosen = {(kind.name, row["loss"], row["net"]): row["lr"] for kind in self.kinds for row in kind.chosen}
        highest = sum(rate == self.rates[-1] for rate in chosen.values())
        return f". Of the rates the highest was the best {highest} of {len(chosen)} times, so a higher one may be better still"

    @property
    def hours(self) -> str:
        """CPU hours of all kinds."""
        return _format_hours(self.kinds)

    def count(self, column: str) -> int:
        return sum(int(kind.about[column]) for kind in self.kinds)

    def describe_range(self, column: str) -> str:
        """Describe the numbers in a column of datasets.csv: `64`, or `8 to 16`."""
        numbers = sorted({int(part) for kind in self.kinds for part in split_names(kind.about[column])})
        return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"

    @property
    def number_of_pairs(self) -> int:
        return math.comb(len(self.order), 2)

    def find_leading_kinds(self, loss: str) -> list[Kind]:
        """Find the kinds of data on which no other loss is really better."""
        return [kind for kind in self.kinds if loss in kind.list_leading()]

    def find_reach(self, kind: Kind) -> float:
        """Find the points by which a loss must typically differ from cross entropy to be told from it; NaN: unknown."""
        rows = [row for row in kind.list_standings("miou") if row["gain_low"] and kind.is_judged]
        widths = [(get_number(row, "gain_high") - get_number(row, "gain_low")) / 2 / POINT for row in rows]
        return median(widths) if widths else math.nan

    def summarize_kind(self, kind: Kind) -> list[str]:
        """Summarize a kind of data: its title, the best loss, those not shown to be worse, how many are, and the reach."""
        best, reach = kind.list_standings("miou")[0], self.find_reach(kind)
        others = [loss for loss in kind.list_leading() if loss != best["loss"]]
        first = f"{name_loss(best['loss'])}, {write_mean(best, with_interval=False)}"
        if not kind.is_judged:
            return [kind.title, first, "cannot be told", "cannot be told", "–"]
        worse = f"{len(kind.find_worse())} of {len(kind.list_standings('miou'))}"
        shown = "–" if math.isnan(reach) else f"±{reach:.1f} points"
        return [kind.title, first, join_losses(others, 3) or "none", worse, shown]

    def describe_gap(self, kind: Kind, loss: str) -> str:
        """Describe how far a loss is below the best mean, bold unless it is shown to be worse."""
        if loss not in self.gaps[kind.name]:
            return "–"
        text = write_points(-self.gaps[kind.name][loss])
        return f"**{text}**" if loss in kind.list_leading() else text

    def list_lessons(self) -> Iterator[str]:
        """Yield sentences to take home."""
        number, counts = len(self.judged), {loss: len(self.find_leading_kinds(loss)) for loss in self.order}
        usual = [
            f"{name_loss(loss)} is shown to be worse on {number - counts[loss] or 'none'}, and is {self.distances[loss]:.1f} "
            "points below the best on average"
            for loss in (BASELINE, REFERENCE)
            if loss in counts
        ]
        if usual:
            able = " that can tell losses apart" if number < len(self.kinds) else ""
            yield f"**The usual choices**, of {format_plural(number, 'kind')} of data{able}: {'; '.join(usual)}."
        every = [loss for loss in self.order if counts[loss] == number]
        if len(every) == len(self.order):
            yield "**No loss is shown to be better than any other**, on any of the data. That is doubt, not equality."
        elif every:
            yield (
                f"**Not shown to be worse anywhere**: {join_losses(every, 4)} ({len(every)} of {len(self.order)} losses). "
                "That is no proof that they are equal."
            )
        else:
            most = max(counts.values())
            often = [loss for loss in self.order if counts[loss] == most]
            yield (
                f"**Each loss is shown to be worse somewhere**: {join_losses(often)} on the fewest, {number - most} of "
                f"{format_plural(number, 'kind')} of data."
            )
        yield self._describe_means()
        yield self._describe_gains()
        if seldom := [loss for loss in reversed(self.order) if counts[loss] * 2 < number]:
            yield (
                f"**Take with a reason only**: {join_losses(seldom, 8)}: on more than half of the data some other "
                "loss is really better, with these settings."
            )
        yield self._describe_doubt()
        if number > 1:
            turned = self._find_turned_pairs()
            yield (
                f"**The data decide**: {len(turned)} of {self.number_of_pairs} pairs of losses really change places from one "
                f"kind of data to another: {'; '.join(join_losses(pair) for pair in turned[:3])}."
                if turned
                else "**No two losses are shown to change places** from one kind of data to another."
            )

    def _describe_means(self) -> str:
        """Say with which losses the order by means alone begins and ends."""
        shown = [f"{name_loss(loss)} ({write_points(-self.distances[loss])})" for loss in self.order]
        return (
            f"**By means alone**, an order that other seeds may turn, the first are {format_list(shown[:3])}, and the last "
            f"{format_list(shown[-2:])}; in brackets, points of mean IoU below the best, on average of the data."
        )

    def _describe_gains(self) -> str:
        """Say which losses are really better or worse than cross entropy, and where."""
        real: dict[bool, dict[str, list[str]]] = {True: {}, False: {}}
        for kind in self.kinds:
            for row in kind.list_standings("miou"):
                if row["gain_real"] == "yes":
                    real[get_number(row, "gain") > 0].setdefault(row["loss"], []).append(kind.title)
        parts = []
        for is_better, losses in real.items():
            ranked = sorted(losses.items(), key=lambda one: (-len(one[1]), self.order.index(one[0])))
            named = [f"{name_loss(loss)} ({', '.join(titles)})" for loss, titles in ranked]
            parts.append(f"really {'better' if is_better else 'worse'}: {format_list(named, 6) or 'none'}")
        return f"**Held against `cross_entropy` alone**, {'; '.join(parts)}."

    def _describe_doubt(self) -> str:
        pairs = list(combinations(self.order, 2))
        apart = [pair for pair in pairs if any({pair, pair[::-1]} & kind.find_beaten() for kind in self.kinds)]
        reaches = [reach for reach in map(self.find_reach, self.kinds) if not math.isnan(reach)]
        sentence = (
            f"**Doubt**: {len(pairs) - len(apart)} of {len(pairs)} pairs of losses are told apart on none of the data."
        )
        if not reaches:
            return sentence
        low, high = f"{min(reaches):.1f}", f"{max(reaches):.1f}"
        return (
            f"{sentence} To be told from `cross_entropy` a loss must typically differ by "
            f"{low if low == high else f'{low} to {high}'} points."
        )

    def _find_turned_pairs(self) -> list[tuple[str, str]]:
        """Find pairs of which each is really better on some kind of data."""
        beaten = set[tuple[str, str]]().union(*(kind.find_beaten() for kind in self.kinds))
        return [pair for pair in combinations(self.order, 2) if pair in beaten and pair[::-1] in beaten]

    def describe_ranks(self) -> str | None:
        """Describe Friedman's test over kinds of data, the losses that are judged on all; None: there are too few."""
        losses = [loss for loss in self.order if all(loss in each for each in self.gaps.values())]
        if len(self.kinds) < MIN_RANKED_KINDS or len(losses) < 3:
            return None
        test = rank_cells(np.array([[-each[loss] for loss in losses] for each in self.gaps.values()]))
        ranks = sorted(zip(test.mean_ranks, losses, strict=True))
        best, last = ranks[0], ranks[-1]
        near = sum(rank - best[0] < test.critical_difference for rank, _ in ranks) - 1
        return (
            f"Over the {len(self.kinds)} kinds of data mean ranks go from {best[0]:.1f} ({name_loss(best[1])}) to "
            f"{last[0]:.1f} ({name_loss(last[1])}); Friedman's test that all are alike has p "
            f"{format_p_statement(test.p)}, and by Nemenyi's the first is not told apart from "
            f"{format_plural(near, 'other')} (critical difference {test.critical_difference:.1f})."
        )

    def describe_data(self, kind: Kind) -> str:
        """Describe the measures of the data that losses are sensitive to; an empty text if they were not measured."""
        values = [get_number(kind.about, name) for name in MEASURES]
        if any(map(math.isnan, values)):
            return ""
        foreground, rarest, border = (f"{format_percent(share)} %" for share in values[:3])
        objects, width = (format_score(number, 1) for number in values[3:])
        return (
            f"Of the pixels of its training masks {foreground} are foreground, which is all but the most frequent class, "
            f"{rarest} are of the rarest class, and {border} are at most 2 pixels away from another class. An image has "
            f"{objects} objects, and the thinnest class is {width} pixels wide, both on average."
        )

    def describe_kind(self, kind: Kind) -> Iterator[str]:
        """Yield sentences on one kind of data."""
        standings = kind.list_standings("miou")
        best = standings[0]
        yield (
            f"{name_loss(best['loss'])} has the best mean, {write_mean(best)}; "
            f"{_count_leading(kind.list_leading(), standings) if kind.is_judged else explain_doubt(kind)}."
        )
        if worse := [row for row in reversed(standings) if row["loss"] in kind.find_worse()]:
            shown = [f"{name_loss(row['loss'])} ({write_points(-self.gaps[kind.name][row['loss']])})" for row in worse]
            yield f"Really worse than some, the last first, in points below the best mean: {format_list(shown, 4)}."
        for metric, title in (
            ("boundary_iou", "boundary IoU"),
            (kind.rare_metric, f"IoU of {kind.about['rare_class']}"),
        ):
            if metric is not None and kind.is_judged and (own := kind.list_standings(metric)):
                names = kind.list_leading(metric)
                yield f"By {title} {name_loss(own[0]['loss'])} has the best mean; {_count_leading(names, own)}."
        nets = [(net, kind.list_standings("miou", net)) for net in self.nets]
        counts = [
            f"on `{net}` {len(kind.list_leading('miou', net))} (best mean: {name_loss(rows[0]['loss'])})"
            for net, rows in nets
            if rows and kind.is_judged
        ]
        if len(counts) > 1:
            yield f"Each net alone: not shown to be worse are {format_list(counts)}."
        if lost := [loss for loss in kind.losses if loss not in self.gaps[kind.name]]:
            yield f"Not judged, as no run counts on some net: {join_losses(lost)}."

    def list_failures(self) -> Iterator[list[str]]:
        """Yield for each loss that fails somewhere: its name, failed runs, classes never found, and where it is last."""
        for loss in self.order:
            failed, unfound, last = list[str](), list[str](), list[str]()
            for kind in self.kinds:
                own = [row for row in kind.runs if row["loss"] == loss]
                if number := sum(row["state"] == "failed" for row in own):
                    failed.append(f"{number} of {len(own)} on {kind.title}")
                unfound += [f"{names} on {kind.title} ({nets})" for names, nets in _find_unfound(kind, loss)]
                if loss in kind.find_worse() and loss == kind.list_standings("miou")[-1]["loss"]:
                    last.append(kind.title)
            if failed or unfound or last:
                yield [name_loss(loss), *(format_list(names, 4) or "–" for names in (failed, unfound, last))]

    def list_hardware(self) -> Iterator[str]:
        """Yield on what all was run, and what that cost, a sentence for each kind of machine."""
        groups: dict[tuple[str, str, str, str], list[Kind]] = {}
        for kind in self.kinds:
            key = (kind.about["hardware"], kind.about["precision"], kind.about["threads"], kind.about["commit"])
            groups.setdefault(key, []).append(kind)
        for (hardware, precision, threads, commit), kinds in groups.items():
            timed, runs = (sum(int(kind.about[name]) for kind in kinds) for name in ("timed_runs", "runs"))
            yield (
                f"{format_list([kind.title for kind in kinds], 9)}: {hardware or 'unknown hardware'}, {name_precision(precision)}, "
                f"{threads or '?'} thread a run, commit {commit.replace('; ', ', ')}; {_format_hours(kinds)} CPU "
                f"hours for {timed} of {runs} runs, which are seconds of train, evaluate and report by the clock, "
                "times threads."
            )


def _format_hours(kinds: Sequence[Kind]) -> str:
    hours = sum(get_number(kind.about, "cpu_hours") for kind in kinds if kind.about["cpu_hours"])
    return f"{hours:.{0 if hours >= 10 else 1}f}"


def explain_doubt(kind: Kind) -> str:
    """Say why no difference can be claimed on a kind of data."""
    groups = kind.about["test_groups"]
    few = f"its test images are of {groups} groups, such as videos, and a claim takes {MIN_UNITS}"
    return f"no difference can be claimed: {few if groups else f'that takes {MIN_UNITS} test images'}"


def _count_leading(leading: Sequence[str], standings: Sequence[Row]) -> str:
    if len(leading) == len(standings):
        return f"none of the {len(standings)} losses is shown to be worse than another"
    return (
        f"{len(leading)} of {len(standings)} losses are not shown to be worse"
        if len(leading) > 1
        else "all others are worse"
    )


def _find_unfound(kind: Kind, loss: str) -> list[tuple[str, str]]:
    """Find the classes of which no run of a loss found more than next to nothing, and the nets of these runs, as words."""
    rows = [row for row in kind.chosen if row["loss"] == loss]
    columns = [name for name in (rows[0] if rows else {}) if name.startswith("iou_")]
    nets: dict[str, list[str]] = {}
    for net in dict.fromkeys(row["net"] for row in rows):
        own = [row for row in rows if row["net"] == net]
        names = [
            column.removeprefix("iou_") for column in columns if all(get_number(row, column) < UNFOUND for row in own)
        ]
        if names:
            shown = f"{len(names)} of {len(columns)} classes" if len(names) > MAX_UNFOUND else format_list(names)
            nets.setdefault(shown, []).append(f"`{net}`")
    return [(names, format_list(own)) for names, own in nets.items()]
