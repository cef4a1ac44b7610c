"""Advice on a dataset: losses to try first, by the rows of the odyssey, and what such advice is worth."""

from losslab.advice.choice import Advice, advise
from losslab.advice.regret import Regret, measure_regret
from losslab.advice.results import KindResults, find_results, read_results

__all__ = ["Advice", "KindResults", "Regret", "advise", "find_results", "measure_regret", "read_results"]
