"""MLflow: no other room talks to it. Files are the source of truth; a run in MLflow is a copy of them.

The train stage begins a run and logs each epoch while it trains; evaluate and report look that run up by the md5 of the model
and complete it. What a store lacks (it was down, or DVC took the outs from its cache and no stage ran) is rebuilt from the
outs. Nothing here may stop a stage: the first failure is one warning, and the run goes on without MLflow.
"""

from losslab.tracking.lookup import TrackedRun, download_outs, list_tracked_runs
from losslab.tracking.runs import (
    TrainingRun,
    end_lost_runs,
    is_noted,
    is_recorded,
    open_store,
    rebuild_run,
    record_stage,
    track_training,
)
from losslab.tracking.store import TrackingStore, describe_failure, read_repository_id, store_errors, store_exists
from losslab.tracking.studies import COMPARISON, StudyChild, TrackedStudy

__all__ = [
    "COMPARISON",
    "StudyChild",
    "TrackedRun",
    "TrackedStudy",
    "TrackingStore",
    "TrainingRun",
    "describe_failure",
    "download_outs",
    "end_lost_runs",
    "is_noted",
    "is_recorded",
    "list_tracked_runs",
    "open_store",
    "read_repository_id",
    "rebuild_run",
    "record_stage",
    "store_errors",
    "store_exists",
    "track_training",
]
