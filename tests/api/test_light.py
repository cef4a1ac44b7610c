"""`import losslab` is light, and offers what its rooms do."""

import subprocess
import sys

import losslab
import losslab.losses
import losslab.metrics
import losslab.models


def test_import_is_light_and_knows_its_names() -> None:
    code = (
        "import sys, losslab; assert {*losslab.__all__} < {*dir(losslab)}; from losslab import build_loss, build_model; "
        "sys.exit(', '.join({'torch', 'mlflow', 'dvc', 'lightning', 'scipy'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_those_of_the_rooms() -> None:
    assert losslab.build_loss is losslab.losses.build_loss
    assert losslab.build_model is losslab.models.build_model
    assert losslab.SegmentationMetrics is losslab.metrics.SegmentationMetrics
    assert all(getattr(losslab, name).__name__ == name for name in losslab.__all__)
