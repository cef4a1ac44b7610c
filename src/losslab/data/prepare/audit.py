"""The audit of a dataset, to be read before its data are trusted: audit.json, and a summary of one screen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from losslab.cards import SPLITS, Card, SplitName
from losslab.data.findings import FINDING_KINDS, SEVERITIES, Finding
from losslab.data.prepare.near_duplicates import MAX_PAIRS_LISTED, NearDuplicates, SimilarPair
from losslab.data.prepare.statistics import ImageStatistics, SplitTotals
from losslab.errors import InputError
from losslab.formats import format_cell_percent, format_score
from losslab.io.files import Row
from losslab.params import PrepareParams

MAX_EXAMPLES = 3
MAX_CLASSES_SHOWN = 16


class AuditError(InputError):
    """Errors in the data that stop the stage; `audit` has them all."""

    def __init__(self, line: str, audit: dict[str, Any]) -> None:
        super().__init__(line)
        self.audit = audit


def audit_file(name: str, statistics: ImageStatistics, params: PrepareParams) -> list[Finding]:
    """Return the findings about one image that is used."""
    width, height, findings = statistics.width, statistics.height, []
    if width * height < params.size * params.size and params.fit != "tile":
        findings.append(Finding("image too small", name, f"{width} x {height}; prepare.size is {params.size}"))
    if statistics.is_flat:
        findings.append(Finding("image of one value", name))
    if (statistics.pixels == statistics.known).any():
        findings.append(Finding("one class only", name))
    return findings


def audit_splits(
    card: Card,
    dealt: Mapping[SplitName, Sequence[str]],
    groups: Mapping[str, str],
    totals: Mapping[SplitName, SplitTotals],
    pairs: Sequence[SimilarPair],
) -> list[Finding]:
    """Return the findings that need the split: leaks between splits, and classes that a split lacks."""
    findings = []
    splits_by_group: dict[str, Counter[SplitName]] = {}
    for split, names in dealt.items():
        for name in names:
            splits_by_group.setdefault(groups[name], Counter())[split] += 1
    for group, splits in sorted(splits_by_group.items()):
        if card.group is not None and len(splits) > 1:
            numbers = ", ".join(f"{count} in {split}" for split, count in splits.items())
            findings.append(Finding("group in several splits", group, numbers))
    for split, total in totals.items():
        absent = [one.name for one, images in zip(card.classes, total.images_with, strict=True) if images == 0]
        findings += [Finding("class absent", split, name) for name in absent]
    names = [f"{split}/{name}" for split in SPLITS for name in dealt[split]]
    for pair in pairs:
        detail = f"and {names[pair.second]}, correlation {pair.correlation:.3f}"
        findings.append(Finding("near-duplicate across splits", names[pair.first], detail))
    return findings


def find_duplicates(names: Sequence[tuple[SplitName, str]], digests: Sequence[bytes]) -> list[Finding]:
    """Find images that are the same to the last bit, once prepared."""
    same: dict[bytes, list[tuple[SplitName, str]]] = {}
    for name, digest in zip(names, digests, strict=True):
        same.setdefault(digest, []).append(name)
    findings = []
    for (split, first), *others in (group for group in same.values() if len(group) > 1):
        across = any(other != split for other, _ in others)
        shown, more = ", ".join(f"{other}/{name}" for other, name in others[:MAX_EXAMPLES]), len(others) - MAX_EXAMPLES
        detail = f"and {shown}" + (f" and {more} more" if more > 0 else "")
        findings.append(Finding("duplicate across splits" if across else "duplicate", f"{split}/{first}", detail))
    return findings


def describe_findings(findings: Sequence[Finding], near_duplicates: int = 0) -> dict[str, Any]:
    """Return the findings of audit.json, the worst first: counted by kind, then one by one."""
    order = list(FINDING_KINDS)
    ranked = sorted(findings, key=lambda finding: (SEVERITIES.index(finding.severity), order.index(finding.kind)))
    by_kind: dict[str, dict[str, Any]] = {}
    for finding in ranked:
        kind: dict[str, Any] = {"severity": finding.severity, "count": 0, "examples": []}
        entry = by_kind.setdefault(finding.kind, kind | {"remedy": FINDING_KINDS[finding.kind].remedy})
        entry["count"] += 1
        if len(entry["examples"]) < MAX_EXAMPLES:
            entry["examples"].append(finding.file + (f" ({finding.detail})" if finding.detail else ""))
    if near_duplicates > MAX_PAIRS_LISTED:
        by_kind["near-duplicate across splits"]["count"] = near_duplicates
    counts = dict.fromkeys(SEVERITIES, 0)
    for entry in by_kind.values():
        counts[entry["severity"]] += entry["count"]
    return {"counts": counts, "by_kind": by_kind, "findings": [finding.describe() for finding in ranked]}


def describe_data(
    card: Card, totals: Mapping[SplitName, SplitTotals], rows: Sequence[Row], near: NearDuplicates
) -> dict[str, Any]:
    """Return the part of audit.json that describes the data, without the findings."""
    coverage = {}
    for split, total in totals.items():
        pixels = total.known + total.void
        coverage[split] = {
            one.name: {"share": round(int(count) / pixels, 6), "images": int(images)}
            for one, count, images in zip(card.classes, total.pixels, total.images_with, strict=True)
        } | {"void": {"share": round(total.void / pixels, 6)}}
    widths, heights = ([int(str(row[key])) for row in rows] for key in ("width", "height"))
    places = [{key: row[key] for key in ("split", "image", "index")} for row in rows]
    pairs = [{**asdict(pair), "first": places[pair.first], "second": places[pair.second]} for pair in near.pairs]
    return {
        "images": {name: total.images for name, total in totals.items()},
        "original_size": {"width": [min(widths), max(widths)], "height": [min(heights), max(heights)]},
        "coverage": coverage,
        "near_duplicates": {"count": near.count, "pairs": pairs},
    }


def summarize_audit(audit: Mapping[str, Any]) -> list[str]:
    """Return one screen: images, the share of each class, and each kind of finding with examples and remedy."""
    lines = []
    if "images" in audit:
        ranges = audit["original_size"]["width"], audit["original_size"]["height"]
        sizes = [f"{low}" if low == high else f"{low}-{high}" for low, high in ranges]
        numbers = ", ".join(f"{count} {split}" for split, count in audit["images"].items())
        lines.append(f"{numbers} images of {sizes[0]} x {sizes[1]} pixels")
        shares = {
            name: " / ".join(format_cell_percent(audit["coverage"][split][name]["share"]) for split in audit["images"])
            for name in audit["coverage"]["train"]
        }
        has_void = any(audit["coverage"][split]["void"]["share"] for split in audit["images"])
        classes = [f"{name} {share}" for name, share in shares.items() if name != "void" or has_void]
        shown = _join(classes[:MAX_CLASSES_SHOWN], len(classes))
        lines.append(f"% of pixels in {' / '.join(audit['images'])}: {shown}")
    if "ceiling" in audit:
        classes = [f"{name} {format_score(iou)}" for name, iou in audit["ceiling"].items()]
        shown = _join(classes[:MAX_CLASSES_SHOWN], len(classes))
        lines.append(f"IoU of the truth itself, resized and brought back to the files' size: {shown}")
    for kind, entry in audit["by_kind"].items():
        remedy = "" if entry["remedy"].startswith("nothing") else f". Remedy: {entry['remedy']}"
        examples = _join(entry["examples"], entry["count"])
        lines.append(f"{entry['severity']}: {entry['count']} x {kind}: {examples}{remedy}")
    return lines


def _join(shown: Sequence[str], count: int) -> str:
    return "; ".join(shown) + (f"; and {count - len(shown)} more" if count > len(shown) else "")
