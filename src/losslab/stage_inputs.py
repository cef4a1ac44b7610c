"""The inputs of a stage, by dvc.yaml: DVC hashes them after the stage, so they must still be what the stage has read."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from losslab.errors import InputError
from losslab.io.files import flatten
from losslab.io.hashing import compute_file_md5, is_ignored
from losslab.io.yaml import read_yaml

PARAMS = "params.yaml"
TEXT_SUFFIXES = (".py", ".yaml", ".j2", ".js", ".css")
"""Suffixes of code and cards, which are known by content; all other files may be many and large: by size and time."""
MAX_SHOWN, MAX_VALUE_CHARS = 3, 60


class StageInputs:
    """The params and files that a stage of this folder's dvc.yaml depends on, as they were when this was made.

    Args:
        stage: its name; one that is not in dvc.yaml depends on nothing.
        with_earlier: whether the params of the stages before it count too.
    """

    def __init__(self, stage: str, with_earlier: bool = False) -> None:
        stages, params = _read_mapping(Path("dvc.yaml")).get("stages") or {}, _read_mapping(Path(PARAMS))
        names = list(stages)[: list(stages).index(stage) + 1] if stage in stages else []
        entries = [_resolve(stages[name], params) for name in names]
        self.deps: list[str] = entries[-1].get("deps", []) if entries else []
        self.keys = [key for entry in (entries if with_earlier else entries[-1:]) for key in _list_keys(entry)]
        self.params, self.files = self._read_params(), self._read_files()

    def find_foreign_dep(self) -> str | None:
        """Return an input that DVC, which runs this stage, does not know as one: it read `dataset` when it started."""
        try:
            known = json.loads(Path(".dvc/tmp/rwlock").read_text(encoding="utf-8"))["read"]
        except (OSError, ValueError, KeyError):  # without DVC, or with one that keeps its list elsewhere
            return None
        foreign = [dep for dep in self.deps if not any(path.endswith(f"/{dep}") for path in known)]
        return foreign[0] if 0 < len(foreign) < len(self.deps) else None

    def describe_change(self) -> str | None:
        """Say what is not as it was; None if everything is."""
        params, files = self._read_params(), self._read_files()
        for file, before in self.params.items():
            if differing := _compare(before, params[file]):
                shown = [f"{key} was {old}, is {new} now" for key, (old, new) in differing.items()]
                more = [f"and {len(shown) - MAX_SHOWN} more"] if len(shown) > MAX_SHOWN else []
                return f"{file} changed while this stage ran ({'; '.join(shown[:MAX_SHOWN] + more)})"
        changed = [path for path in self.files | files if self.files.get(path) != files.get(path)]
        if not changed:
            return None
        what = "went away" if changed[0] not in files else "changed" if changed[0] in self.files else "appeared"
        more = [f" ({len(changed)} files differ)"] if len(changed) > 1 else []
        return f"{changed[0]} {what} while this stage ran{''.join(more)}"

    def _read_params(self) -> dict[str, dict[str, Any]]:
        contents = {file: _read_mapping(Path(file)) for file in dict.fromkeys(file for file, _ in self.keys)}
        return {
            name: {key: _look_up(contents[name], key) for file, key in self.keys if file == name} for name in contents
        }

    def _read_files(self) -> dict[str, object]:
        files: dict[str, object] = {}
        for dep in self.deps:
            files |= _fingerprint(dep)
        return files


def check_data(settings: Mapping[str, Any], params: Any) -> None:
    """Raise InputError unless data were prepared with these params, by the settings in their audit.json."""
    begin = f"data/prepared/{params.dataset}/audit.json: these data were prepared"
    _check_record(begin, "prepare", {"prepare": settings}, params)


def check_model(description: Mapping[str, Any], params: Any) -> None:
    """Raise InputError unless a model was trained with these params, by its model.json."""
    options = description.get("arch_options", {})
    train = {"crop": None, "sampling": "uniform"} | description["run"]["train"]
    recorded = {
        **description["run"],
        "arch_options": options,
        "train": train,
        "prepare": {key: description[key] for key in ("size", "fit")},
    }
    _check_record("models/model.json: this model was trained", "train", recorded, params)


def check_evaluation(settings: Mapping[str, Any], params: Any) -> None:
    """Raise InputError unless the scores were computed with these params, by their evaluation.json."""
    facts = ("metric_facts", "ensemble_facts")
    recorded = {"metrics": {}, "ensemble": None} | {key: value for key, value in settings.items() if key not in facts}
    _check_record("reports/evaluation.json: the scores were computed", "evaluate", {"evaluate": recorded}, params)


def _check_record(begin: str, stage: str, recorded: Mapping[str, Any], params: Any) -> None:
    partial = ("prepare", "evaluate")  # sections of which a record has some keys
    given = params.model_dump(include={key: set(part) if key in partial else True for key, part in recorded.items()})
    if differing := _compare(recorded, given):
        key, (old, new) = next(iter(differing.items()))
        raise InputError(
            f"{begin} with {key} {old}, but {PARAMS} has {new}: run `dvc repro`, "
            f"or `dvc repro --force {stage}` if it says that {stage} did not change"
        )


def check_checkout(folder: Path, md5: str) -> None:
    """Raise InputError if a folder that an earlier stage wrote is not what dvc.lock has of it, by its md5.

    DVC takes outs from its cache without a look into them, and would give their name to whatever bytes are there.
    """
    stages = _read_mapping(Path("dvc.lock")).get("stages", {}) if "DVC_STAGE" in os.environ else {}
    outs = {out["path"]: out.get("md5") for stage in stages.values() for out in stage.get("outs", [])}
    recorded = outs.get(folder.as_posix())
    if recorded is None or recorded == md5:
        return
    cache = Path(os.environ.get("DVC_ROOT", ".")) / ".dvc/cache/files/md5"
    damaged = [folder]
    with suppress(OSError, ValueError):
        listed = json.loads((cache / recorded[:2] / recorded[2:]).read_text(encoding="utf-8"))
        damaged += [
            cache / entry["md5"][:2] / entry["md5"][2:]
            for entry in listed
            if compute_file_md5(folder / entry["relpath"]) != entry["md5"]
        ]
    raise InputError(
        f"{folder}: its bytes are not those that dvc.lock names, so what DVC's cache has of it is damaged: run "
        f"rm -rf {' '.join(shlex.quote(str(path)) for path in damaged)}, then dvc repro again"
    )


_UNSET = "unset"


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return dotted key → both values, as text, of the params that differ."""
    old, new = flatten(before), flatten(now)
    filled = {key for key in old | new if any(other.startswith(f"{key}.") for other in old | new)}
    differing = [key for key in old | new if key not in filled and old.get(key, _UNSET) != new.get(key, _UNSET)]
    return {key: (_format(old.get(key, _UNSET)), _format(new.get(key, _UNSET))) for key in differing}


def _format(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        return {}
    return content if isinstance(content, dict) else {}


def _look_up(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _resolve(value: Any, params: Mapping[str, Any]) -> Any:
    """Replace `${key}` in all text of an entry of dvc.yaml, as DVC does."""
    if isinstance(value, str):
        return re.sub(r"\$\{\s*([\w.]+)\s*\}", lambda match: str(_look_up(params, match[1])), value)
    if isinstance(value, Mapping):
        return {_resolve(key, params): _resolve(item, params) for key, item in value.items()}
    return [_resolve(item, params) for item in value] if isinstance(value, list) else value


def _list_keys(entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the files and keys of an entry's params."""
    files = [item if isinstance(item, Mapping) else {PARAMS: [item]} for item in entry.get("params", [])]
    return [(file, key) for item in files for file, keys in item.items() for key in keys or []]


def _fingerprint(path: str, entry: "os.DirEntry[str] | None" = None) -> dict[str, object]:
    """Return what tells whether a file was changed, of each file at a path, or below it, that DVC sees."""
    try:
        if entry.is_dir(follow_symlinks=False) if entry is not None else Path(path).is_dir():
            files: dict[str, object] = {}
            for inner in os.scandir(path):
                if not is_ignored(inner.name):
                    files |= _fingerprint(inner.path, inner)
            return files
        if path.endswith(TEXT_SUFFIXES):
            return {path: compute_file_md5(Path(path))}
        stat = entry.stat() if entry is not None else Path(path).stat()
        return {path: (stat.st_size, stat.st_mtime_ns)}
    except OSError:  # it is not there, or went away just now
        return {}
