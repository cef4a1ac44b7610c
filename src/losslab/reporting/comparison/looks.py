"""Table of the looks at a study that went on until it was decided."""

from losslab.comparison.result import Comparison
from losslab.study.look_record import Look

LOOK_HEADINGS = ("look", "date", "seeds", "runs", "differ", "equivalent", "open", "newly decided")


def build_look_rows(comparison: Comparison) -> list[list[str]]:
    """Build a row for each look, as text: when it was, what there was to see, and what it decided."""
    rows, decided = [], set[str]()
    for look in comparison.looks:
        seeds = " to ".join(map(str, dict.fromkeys((min(look.seeds.values()), max(look.seeds.values())))))
        now = {
            f"{pair.better} {'beats' if pair.state == 'real' else 'is equivalent to'} {pair.worse}"
            + (f" (by {pair.question})" if pair.question else "")
            for pair in look.pairs
            if pair.state in ("real", "equivalent")
        }
        left = len(look.pairs) - len(now)
        words = "; ".join(sorted(now - decided)) or "nothing"
        counts = (look.runs, look.count("real"), look.count("equivalent"), left)
        rows.append([str(look.number), _format_date(look), seeds, *map(str, counts), words])
        decided |= now
    return rows


def describe_looks(comparison: Comparison) -> str:
    """Say why looking more than once is honest here."""
    return (
        "Seeds were added to the cells of pairs that were open. Each look claims only at its share of the level that was fixed "
        "before the first, so false claims of all looks together stay at 5 %; intervals and p-values here are those of that share. "
        f"Equivalent: two one-sided tests show that the difference is below {comparison.points:g} {comparison.metric.unit}."
    )


def _format_date(look: Look) -> str:
    return look.date.replace("T", " ").removesuffix("+00:00") + " UTC"
