"""Ensembles among the runs of a comparison: their labels, and what makes one another than the next."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from losslab.experiments.ensembles import describe_members, get_ensemble
from losslab.experiments.run_finder import RunRecord

AXIS, SINGLE, MIXED = "ensemble", "single net", "mixed"
"""Name of the axis, its label for runs of one net, and the label on other axes of an ensemble whose members differ there."""


def label_ensembles(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """Label the axis `ensemble` for each run, and other params in which the members of an ensemble differ.

    Ensembles that share members are no independent runs of one cell, so they get labels of their own.
    """
    every = [get_ensemble(record.params) for record in records]
    members = [{member["weights"] for member in each["members"]} if each else set() for each in every]
    kinds = [SINGLE if each is None else describe_members(each) for each in every]
    labels = []
    for place, (record, ensemble) in enumerate(zip(records, every, strict=True)):
        own, kind = members[place], kinds[place]
        shared = [
            other
            for other in range(len(records))
            if kinds[other] == kind and members[other] & own and members[other] != own
        ]
        settings = {key: MIXED for member in (ensemble or {"members": []})["members"] for key in member["settings"]}
        labels.append({**settings, AXIS: f"{kind} ({record.name})" if shared else kind})
    return labels


def identify_model(record: RunRecord) -> str:
    """Return what tells the model of a run from those of others: the md5 of its weights, or a hash of the members'."""
    if (ensemble := get_ensemble(record.params)) is None:
        return record.model_md5
    about = [ensemble["average"], sorted(member["weights"] for member in ensemble["members"])]
    return hashlib.md5(json.dumps(about).encode(), usedforsecurity=False).hexdigest()


def sum_training_seconds(record: RunRecord, known: Mapping[str, float | None]) -> float | None:
    """Add up how long the nets of a run were trained; None where that is not known of each, by the md5 of its weights."""
    if (ensemble := get_ensemble(record.params)) is None:
        return record.train_seconds
    seconds = [known.get(member["weights"]) for member in ensemble["members"]]
    return sum(each for each in seconds if each is not None) if None not in seconds else None


def describe_draw(params: Mapping[str, Any]) -> str:
    """Describe what a run differs in from the others of its cell: its seed, its fold of crossval, an ensemble's members."""
    if (ensemble := get_ensemble(params)) is not None:
        return " ".join(sorted(member["weights"] for member in ensemble["members"]))
    split = params.get("prepare", {}).get("split", {})
    return f"seed {params['seed']}" + (f", fold {split['fold']}" if split.get("method") == "crossval" else "")
