"""Commands of the fork server do what new processes do: here, count threads; tests/pipeline compares whole runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from losslab.runtime.fork_server import is_supported
from tests.fork_server import start_server

pytestmark = pytest.mark.skipif(not is_supported(), reason="commands are forked on Linux alone")
COUNT = "import torch; print(torch.get_num_threads(), torch.cuda.is_initialized())"


@pytest.mark.parametrize("threads", [None, "1", "3", "2,1"])
def test_fork_computes_with_as_many_threads_as_a_new_process(threads: str | None, tmp_path: Path) -> None:
    (tmp_path / "count.py").write_text(COUNT)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": threads} if threads is not None else {}
    new, fork = (
        subprocess.check_output([python, "count.py"], cwd=tmp_path, env=environment, text=True)
        for python in (sys.executable, start_server() / "python")
    )
    assert fork == new and fork.endswith(" False\n")
