"""How a run appears in MLflow: its name, its description and its params."""

import re
from collections.abc import Mapping
from typing import Any

from losslab.io.files import flatten
from losslab.params import RECORDING

EXPERIMENT = "dvc.experiment"
NOTE = "mlflow.note.content"
"""Tag that MLflow's page of a run shows as its description."""
UNLOGGED = (
    *("dataset", "download", "report", "prepare.audit", "train.workers", "train.device", RECORDING),
    *("evaluate.batch_size", "evaluate.predictions"),
)
"""Params that change no score, and the dataset, which is the MLflow experiment."""
_UNLOGGED = tuple(f"{key}." for key in UNLOGGED)


def build_name(params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
    """Build the name of a run: its experiment's, and of any but a study's, which says it all, its loss, net and seed."""
    experiment, seed = tags.get(EXPERIMENT, ""), f"s{params['seed']}"
    if re.search(rf"-{seed}(-[0-9a-f]{{6}})?$", experiment):
        return experiment
    return f"{experiment}: {params['loss']} {params['arch']} {seed}".removeprefix(": ")


def build_note(run: Any) -> str:
    """Build the description of a run: its result, once it has one, where it is in DVC, and how to get it back."""
    run_id, scores, experiment = run.info.run_id, run.data.metrics, run.data.tags.get(EXPERIMENT)
    parts = [
        f"{name} {scores[key]:.4f}"
        for name, key in (("test mIoU", "test/miou"), ("val", "best_val/miou"))
        if key in scores
    ]
    how = f"`losslab reproduce {run_id}` puts this run into the workspace, `losslab verify {run_id}` runs it again and compares."
    where = f"DVC experiment `{experiment}`" if experiment is not None else ""
    return "\n\n".join(filter(None, [f"**{', '.join(parts)}**" if parts else "", where, how]))


def select_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Select the params that tell runs apart; those that are off are left out. All are in the record's params.yaml.

    >>> select_params({"loss": "dice", "encoder": None, "train": {"lr": 0.1, "ema": None, "workers": 2}})
    {'loss': 'dice', 'encoder': 'null', 'train.lr': '0.1'}
    """
    leaves = {key: value for key, value in flatten(params).items() if not f"{key}.".startswith(_UNLOGGED)}
    shown = {key: value for key, value in leaves.items() if value not in (None, {}) or key.startswith("encoder")}
    return {key: "null" if value is None else str(value) for key, value in shown.items()}
