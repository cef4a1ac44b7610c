"""A repository with finished runs in it, whose outs lie in DVC's cache; nothing is ever trained."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from losslab.io.files import write_text
from tests.study.repository import Repository

CODE = "print('training')\n"
OUTS: dict[str, dict[str, str]] = {
    "train": {
        "models/model.safetensors": "weights",
        "models/model.json": '{"data_md5": "d", "run": {"dataset": "tiny"}}',
        "reports/history.csv": "epoch,val_miou\n1,0.5\n",
    },
    "evaluate": {"reports/metrics.json": '{"test": {"miou": 0.5}, "val": {"miou": 0.5}}'},
    "report": {"reports/report.html": "<p>", "reports/figures": ""},
}


class Runs(Repository):
    """A repository whose experiments have all outs in the cache."""

    def __init__(self, root: Path, top: Path | None = None) -> None:
        super().__init__(root, top)
        write_text(root / "src/train.py", CODE)
        (root / ".gitignore").write_text("/.losslab/\n/data/raw/*/fetched\n/models/\n/reports/\n")
        self.commit()

    def cached(self, content: str) -> str:
        """Put a file into DVC's cache, and return its md5."""
        md5 = hashlib.md5(content.encode()).hexdigest()
        write_text(self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], content)
        return md5

    def cached_folder(self, files: dict[str, str]) -> str:
        entries = [{"md5": self.cached(text), "relpath": name} for name, text in sorted(files.items())]
        text = json.dumps(entries, sort_keys=True)
        md5 = hashlib.md5(text.encode()).hexdigest() + ".dir"
        write_text(self.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:], text)
        return md5

    def lock(self, code: str = CODE, weights: str = "weights") -> dict[str, Any]:
        """Build the dvc.lock of a run on two raw files and this code."""
        raw = {"a.txt": "a", "b.txt": "b"}
        below = {f"fetched/{name}": text for name, text in raw.items()}
        md5 = hashlib.md5(code.encode()).hexdigest()
        stages: dict[str, Any] = {
            "download": {"outs": [{"path": "data/raw/tiny/fetched", "md5": self.cached_folder(raw)}]},
            "prepare": {
                "deps": [{"path": "data/raw/tiny", "md5": self.cached_folder(below)}],
                "outs": [{"path": "data/prepared/tiny", "md5": self.cached_folder({"index.csv": "a\n"})}],
            },
        }
        for stage, files in OUTS.items():
            content = {**files, "models/model.safetensors": weights} if stage == "train" else files
            outs = [
                {
                    "path": path,
                    "md5": self.cached_folder({"c.png": "c"}) if path.endswith("figures") else self.cached(text),
                }
                for path, text in content.items()
            ]
            stages[stage] = {"outs": outs}
        stages["train"]["deps"] = [{"path": "src/train.py", "md5": md5}]
        for stage in stages.values():
            for out in stage["outs"]:
                out["hash"] = "md5"  # else DVC looks where its version 2 had them
        return {"schema": "2.0", "stages": {name: {"cmd": "true", **stage} for name, stage in stages.items()}}

    def run(self, name: str, lock: dict[str, Any], **changes: Any) -> str:
        """Make a run an experiment on HEAD, and return its commit."""
        params = yaml.safe_load((self.root / "params.yaml").read_text()) | changes
        return self.commit_experiment(name, {"params.yaml": params, "dvc.lock": lock})
