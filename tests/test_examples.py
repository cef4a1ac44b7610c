"""The examples run, do what they say, and stay short."""

from examples.own_training_loop import train_net
from tests.conftest import ROOT


def test_own_training_loop_learns() -> None:
    assert train_net(epochs=8) > train_net(epochs=1) + 0.1


def test_own_training_loop_stays_short() -> None:
    assert len((ROOT / "examples/own_training_loop.py").read_text(encoding="utf-8").splitlines()) <= 40
