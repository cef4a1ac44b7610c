"""A fetch that is killed with -9, again and again, ends right; half a dataset is never seen."""

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.conftest import ROOT, TINY_CARD
from tests.data.download.packing import content, make_tar
from tests.data.download.site import Answer, serving

COUNT = 300
FILES = {
    f"{split}/{kind}/{n}.png": random.Random(n).randbytes(2000)
    for split in ("train", "val", "test")
    for kind in ("images", "masks")
    for n in range(COUNT)
}
CODE = """
from pathlib import Path
from losslab.cards import read_card
from losslab.data.download.fetch import fetch
print("begins", flush=True)
fetch("mine", read_card("mine", Path()), None, Path("raw"), Path("downloads/mine"))
"""


def run_until(folder: Path, moment: Callable[[], bool]) -> int:
    """Run a fetch, kill it at a moment; returns its exit code. What the next stage could see is looked at all the time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None and not moment():
            check_complete(folder)
            time.sleep(0.001)
        process.kill()
    check_complete(folder)
    return process.returncode


def check_complete(folder: Path) -> None:
    if (folder / "raw/fetched").exists():
        assert content(folder / "raw/fetched") == FILES


def test_kills_at_any_moment_of_a_fetch_change_nothing(tmp_path: Path) -> None:
    with serving() as site:
        archive = make_tar(tmp_path / "packed/data.tar.gz", {f"mine-1.0/{name}": body for name, body in FILES.items()})
        body = archive.read_bytes()
        url = site.put("data.tar.gz", Answer(body, ranges=True, pause_s=0.01))
        entry = {"name": archive.name, "md5": hashlib.md5(body).hexdigest(), "bytes": len(body), "unpacked": 10**8}
        card = TINY_CARD | {"source": {"archives": [entry | {"urls": [url]}]}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
        part, complete = tmp_path / "downloads/mine/data.tar.gz.part", tmp_path / "downloads/mine/data.tar.gz"

        def come(share: float) -> Callable[[], bool]:
            return lambda: part.exists() and part.stat().st_size > share * len(body)

        def unpacked(files: int) -> Callable[[], bool]:
            place = tmp_path / "raw/.unpacked.partial"
            return lambda: sum(len(names) for _, _, names in os.walk(place)) > files

        chance = random.Random(0)
        moments = [come(0.1), come(0.4), come(chance.uniform(0.5, 0.9)), complete.exists]
        moments += [unpacked(0), unpacked(chance.randrange(1, 4 * COUNT))]
        assert [run_until(tmp_path, moment) for moment in moments] == [-9] * len(moments)
        assert len(site.requests) == 4, "it was downloaded again after it was complete"
        begins = [int((byte_range or "bytes=0-")[6:-1]) for _, byte_range in site.requests]
        assert begins == sorted(begins), "it did not go on where it was"
        assert begins[-1] > 0.5 * len(body)
        assert run_until(tmp_path, lambda: False) == 0
    assert content(tmp_path / "raw/fetched") == FILES
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["fetched"], "something is left over"
    assert [path.name for path in complete.parent.iterdir()] == ["data.tar.gz"]
