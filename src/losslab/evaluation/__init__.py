"""Scores of a trained net on a split, and the tables and pictures that the evaluate stage writes."""

from losslab.evaluation.examples import write_examples
from losslab.evaluation.scoring import SplitResult, evaluate
from losslab.evaluation.tables import write_tables
from losslab.evaluation.truths import original_truths, prepared_truths

__all__ = ["SplitResult", "evaluate", "original_truths", "prepared_truths", "write_examples", "write_tables"]
