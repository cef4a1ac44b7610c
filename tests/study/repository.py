"""A small repository with studies in it, and experiments as a run leaves them, without running any."""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from losslab.experiments.clone import build_ref
from losslab.study.plan import Study, StudyRun, read_study
from tests.conftest import TINY_CHANGES, write_params

STUDY: dict[str, Any] = {
    "title": "Small",
    "question": "Which?",
    "params": {"train": {"epochs": 3}},
    "grid": {
        "loss": ["cross_entropy", "dice"],
        "net": {"unet": {"arch": "unet"}, "segnet": {"arch": "segnet", "encoder": None}},
    },
    "seeds": [0, 1],
}


class Repository:
    """A DVC repository at the root of a Git repository, or in a subfolder of the one that begins at `top`."""

    def __init__(self, root: Path, top: Path | None = None) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        write_params(root, TINY_CHANGES)
        (root / ".dvc").mkdir()
        (root / ".dvc/config").write_text("")
        (root / ".dvc/.gitignore").write_text("/cache\n/tmp\n/config.local\n")
        self.study("small", STUDY)
        self.git("init", "-q", "-b", "main", str(top or root))
        self.commit()

    def git(self, *arguments: str, **environment: str) -> str:
        who = {f"GIT_{role}_{key}": "t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
        env = os.environ | who | environment
        done = subprocess.run(["git", *arguments], cwd=self.root, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "c")
        return self.git("rev-parse", "HEAD")

    def study(self, name: str, content: Any) -> None:
        path = self.root / "studies" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))

    def read(self, name: str = "small", *sets: str, alias: str | None = None) -> Study:
        return read_study(name, self.root, sets, alias)

    def _cached(self, content: bytes) -> str:
        """Put a file into DVC's cache, and return its md5."""
        md5 = hashlib.md5(content).hexdigest()
        path = self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return md5

    def experiment(
        self, run: StudyRun, val_miou: float, with_report: bool = True, left: Path | None = None, **changes: Any
    ) -> None:
        """Make the experiment of a finished run: a commit under refs/exps, with its scores in the cache.

        Args:
            with_report: whether it ran to its end.
            left: a folder with outs, which go into the cache.
        """
        metrics = {"test": {"miou": val_miou - 0.01}, "val": {"miou": val_miou}}
        outs = dict.fromkeys(["models/model.json", "reports/history.csv", "reports/figures"], "")
        outs["models/model.safetensors"] = f"{run.name}.weights"
        outs |= {"reports/report.html": ""} if with_report else {}
        outs["reports/metrics.json"] = self._cached(json.dumps(metrics).encode())
        for file in left.rglob("*.*") if left is not None else ():
            outs[file.relative_to(left or file).as_posix()] = self._cached(file.read_bytes())
        stages = {"train": {"outs": [{"path": path, "md5": md5 or path} for path, md5 in outs.items()]}}
        self.commit_experiment(run.name, {"params.yaml": run.params | changes, "dvc.lock": {"stages": stages}})

    def commit_experiment(self, name: str, contents: dict[str, Any]) -> str:
        """Make HEAD with other files of the project an experiment, and return its commit."""
        folder, prefix = Path(self.git("rev-parse", "--absolute-git-dir")), self.git("rev-parse", "--show-prefix")
        index, blob = str(folder / "index.experiment"), folder / "blob"
        self.git("read-tree", "HEAD", GIT_INDEX_FILE=index)
        for path, content in contents.items():
            blob.write_text(yaml.safe_dump(content, sort_keys=False))
            sha = self.git("hash-object", "-w", str(blob))
            self.git("update-index", "--add", "--cacheinfo", f"100644,{sha},{prefix}{path}", GIT_INDEX_FILE=index)
        tree, head = self.git("write-tree", GIT_INDEX_FILE=index), self.git("rev-parse", "HEAD")
        commit = self.git("commit-tree", tree, "-p", head, "-m", name)
        self.git("update-ref", build_ref(name, head), commit)
        return commit
