"""Build hook: the wheel carries the files of new projects, docs/ and results/odyssey/; an editable install has none."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProjectFiles(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            files = self.config["project-files"]
            build_data["force_include"] |= {path: f"losslab/project/template/{path}" for path in files}
            pages = [path.relative_to(self.root) for path in Path(self.root, "docs").glob("*/*.md")]
            build_data["force_include"] |= {str(path): f"losslab/docs_pages/{Path(*path.parts[1:])}" for path in pages}
            tables = sorted(Path(self.root, "results/odyssey").glob("*.csv"))
            build_data["force_include"] |= {str(path): f"losslab/odyssey/{path.name}" for path in tables}
