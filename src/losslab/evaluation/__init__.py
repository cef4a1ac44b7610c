"""Scores of a trained net on a split, and the tables and pictures that the evaluate stage writes."""

from losslab.evaluation.examples import write_examples
from losslab.evaluation.scoring import SplitResult, evaluate_split, evaluate_splits
from losslab.evaluation.tables import describe_evaluation, summarize_results, write_tables
from losslab.evaluation.targets import build_original_targets

__all__ = [
    "SplitResult",
    "build_original_targets",
    "describe_evaluation",
    "evaluate_split",
    "evaluate_splits",
    "summarize_results",
    "write_examples",
    "write_tables",
]
