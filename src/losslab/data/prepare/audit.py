"""What a dataset turned out to hold, told before it is trusted: audit.json, and one screen of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from losslab.cards import SPLITS, Card, SplitName
from losslab.data.findings import FINDING_KINDS, SEVERITIES, Finding
from losslab.data.prepare.near_duplicates import LISTED, NearDuplicates, SimilarPair
from losslab.data.prepare.statistics import ImageStatistics, SplitTotals
from losslab.errors import InputError
from losslab.io.files import Row

EXAMPLES = 3
MOST_CLASSES = 16


class AuditError(InputError):
    """Errors in the data, and a strict run: `audit` has them all."""

    def __init__(self, line: str, audit: dict[str, Any]) -> None:
        super().__init__(line)
        self.audit = audit


def audit_file(name: str, measures: ImageStatistics, size: int) -> list[Finding]:
    """What is to be said of one image that is used."""
    found = []
    if measures.width * measures.height < size * size:
        found.append(Finding("image too small", name, f"{measures.width} x {measures.height}; prepare.size is {size}"))
    if (measures.pixels > 0).sum() == 1:
        found.append(Finding("one class only", name))
    return found


def audit_splits(
    card: Card,
    dealt: Mapping[SplitName, Sequence[str]],
    totals: Mapping[SplitName, SplitTotals],
    pairs: Sequence[SimilarPair],
) -> list[Finding]:
    """What shows only when the images have been dealt: leaks, and classes that a split lacks."""
    found = []
    splits_of: dict[str, Counter[SplitName]] = {}
    for split, names in dealt.items():
        for name in names:
            splits_of.setdefault(card.find_group(name), Counter())[split] += 1
    for group, splits in sorted(splits_of.items()):
        if card.group is not None and len(splits) > 1:
            numbers = ", ".join(f"{count} in {split}" for split, count in splits.items())
            found.append(Finding("group in several splits", group, numbers))
    for split, total in totals.items():
        absent = [one.name for one, images in zip(card.classes, total.images_with, strict=True) if images == 0]
        found += [Finding("class absent", split, name) for name in absent]
    names = [f"{split}/{name}" for split in SPLITS for name in dealt[split]]
    for pair in pairs:
        detail = f"and {names[pair.second]}, correlation {pair.correlation:.3f}"
        found.append(Finding("near-duplicate across splits", names[pair.first], detail))
    return found


def find_duplicates(names: Sequence[tuple[SplitName, str]], digests: Sequence[bytes]) -> list[Finding]:
    """Images that are the same to the last bit, once prepared."""
    same: dict[bytes, list[tuple[SplitName, str]]] = {}
    for name, digest in zip(names, digests, strict=True):
        same.setdefault(digest, []).append(name)
    found = []
    for (split, first), *others in (group for group in same.values() if len(group) > 1):
        across = any(other != split for other, _ in others)
        shown = ", ".join(f"{other}/{name}" for other, name in others[:EXAMPLES])
        detail = f"and {shown}" + (f" and {len(others) - EXAMPLES} more" if len(others) > EXAMPLES else "")
        kind = Finding("duplicate across splits" if across else "duplicate", f"{split}/{first}", detail)
        found.append(kind)
    return found


def describe_findings(findings: Sequence[Finding], near_duplicates: int = 0) -> dict[str, Any]:
    """The findings of audit.json, the worst first: counted by kind, then one by one."""
    order = list(FINDING_KINDS)
    ranked = sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), order.index(finding.kind)))
    by_kind: dict[str, dict[str, Any]] = {}
    for finding in ranked:
        told = by_kind.setdefault(
            finding.kind,
            {"severity": finding.severity, "count": 0, "examples": [], "remedy": FINDING_KINDS[finding.kind].remedy},
        )
        told["count"] += 1
        if len(told["examples"]) < EXAMPLES:
            told["examples"].append(finding.file + (f" ({finding.detail})" if finding.detail else ""))
    if near_duplicates > LISTED:
        by_kind["near-duplicate across splits"]["count"] = near_duplicates
    counts = {
        severity: sum(told["count"] for told in by_kind.values() if told["severity"] == severity)
        for severity in SEVERITIES
    }
    return {"counts": counts, "by_kind": by_kind, "findings": [finding.describe() for finding in ranked]}


def describe_data(
    card: Card,
    totals: Mapping[SplitName, SplitTotals],
    rows: Sequence[Row],
    alike: NearDuplicates,
) -> dict[str, Any]:
    """The part of audit.json that is about what is there, not about what is wrong."""
    coverage = {}
    for split, total in totals.items():
        pixels = int(total.pixels.sum()) + total.void
        coverage[split] = {
            one.name: {"share": round(int(count) / pixels, 6), "images": int(images)}
            for one, count, images in zip(card.classes, total.pixels, total.images_with, strict=True)
        } | {"void": {"share": round(total.void / pixels, 6)}}
    widths, heights = ([int(str(row[key])) for row in rows] for key in ("width", "height"))
    return {
        "images": {name: total.images for name, total in totals.items()},
        "original_size": {"width": [min(widths), max(widths)], "height": [min(heights), max(heights)]},
        "coverage": coverage,
        "near_duplicates": {
            "count": alike.count,
            "pairs": [
                {
                    "first": _place(rows[pair.first]),
                    "second": _place(rows[pair.second]),
                    "correlation": pair.correlation,
                }
                for pair in alike.pairs
            ],
        },
    }


def _place(row: Row) -> Row:
    return {key: row[key] for key in ("split", "image", "index")}


def summarize_audit(audit: Mapping[str, Any]) -> list[str]:
    """One screen: images, the share of each class, and each kind of finding with examples and remedy."""
    lines = []
    if "images" in audit:
        sizes = [
            f"{low}" if low == high else f"{low}-{high}"
            for low, high in (audit["original_size"]["width"], audit["original_size"]["height"])
        ]
        numbers = ", ".join(f"{count} {split}" for split, count in audit["images"].items())
        lines.append(f"{numbers} images of {sizes[0]} x {sizes[1]} pixels")
        shares = {
            name: " / ".join(_percent(audit["coverage"][split][name]["share"]) for split in audit["images"])
            for name in audit["coverage"]["train"]
        }
        has_void = any(audit["coverage"][split]["void"]["share"] for split in audit["images"])
        told = [f"{name} {share}" for name, share in shares.items() if name != "void" or has_void]
        more = f"; and {len(told) - MOST_CLASSES} more" if len(told) > MOST_CLASSES else ""
        lines.append(f"% of pixels in {' / '.join(audit['images'])}: {'; '.join(told[:MOST_CLASSES])}{more}")
    for kind, told in audit["by_kind"].items():
        more = told["count"] - len(told["examples"])
        files = "; ".join(told["examples"]) + (f"; and {more} more" if more > 0 else "")
        remedy = "" if told["remedy"].startswith("nothing") else f". Remedy: {told['remedy']}"
        lines.append(f"{told['severity']}: {told['count']} x {kind}: {files}{remedy}")
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.1f}" if share >= 0.001 or share == 0 else f"{100 * share:.2f}"
