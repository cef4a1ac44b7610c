"""MLflow: the only room that talks to it. Files are the source of truth; a run in MLflow is their copy.

The train stage begins a run and logs each epoch while it trains; evaluate and report find that run by the md5 of the model
and complete it. Whatever a store lacks (it was down, or DVC took the outs from its cache and no stage ran) is rebuilt from
the outs. Nothing here may stop a stage: the first failure is told in one line, and the run goes on without MLflow.
"""

from losslab.tracking.lookup import TrackedRun, download_outs, tracked_runs
from losslab.tracking.runs import Run, is_recorded, rebuild, record, repository_id, training_run

__all__ = [
    "Run",
    "TrackedRun",
    "download_outs",
    "is_recorded",
    "rebuild",
    "record",
    "repository_id",
    "tracked_runs",
    "training_run",
]
