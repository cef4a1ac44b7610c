"""The study behind `losslab datasets doubt`: one run for each fold, so that each image is predicted by a net that never saw it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from losslab.cards import Card, OwnSource, read_card
from losslab.data.catalog import CATALOG, check_root
from losslab.data.prepare.splits import choose_samples, split_samples
from losslab.data.readers import find_dataset_folder, read_layout
from losslab.errors import InputError, quote
from losslab.experiments.dvc_cache import open_repository
from losslab.io.files import write_text
from losslab.io.git import find_head, list_changes, read_file_at
from losslab.io.yaml import parse_assignment
from losslab.params import PrepareParams
from losslab.plugins.manifest import explain_unknown
from losslab.study.overrides import find_clash, flatten_overrides
from losslab.study.plan import Study, read_committed_params, read_study
from losslab.study.spec import STUDIES, make_slug

DIGEST_CHARS = 6
FIXED = ("dataset", "seed", "prepare.split.method", "prepare.split.folds", "prepare.split.fold")
"""Keys of params.yaml that the study itself sets."""
VAL_SHARE = 0.1
"""Share of the images that choose the best epoch, where nothing else is said: the more to learn from are left."""
HEADING = """\
# `losslab datasets doubt {dataset}` wrote this: {folds} nets, each tested on images that it never saw, of one version of the data.
"""


@dataclass(frozen=True)
class DoubtedDataset:
    """A dataset whose masks are doubted, at the version of the last commit."""

    name: str
    card: Card
    own: Path | None
    """The folder with the user's own files; None where they are fetched or drawn."""
    version: str
    """A few letters that change with the card and the files."""

    def list_masks(self, root: Path) -> dict[str, Path]:
        """List the file of each mask by the name of its image, relative to `root`; none if the files are not on this disk."""
        folder = find_dataset_folder(self.card, root / "data/raw" / self.name)
        if not folder.is_dir():
            return {}
        return {sample.name: sample.mask.relative_to(root) for sample in read_layout(self.card, folder).samples}

    def describe_remedy(self, options: str = "") -> list[str]:
        """Say how to correct a mask and go on, a step each; `options` are those that the command was given."""
        again = "losslab datasets doubt"
        if self.own is not None:
            return [
                f"Correct the mask's file below {self.own} in place, with any editor that keeps its values: same size, a number or "
                "colour for each class, no smooth edges. To leave an image out, remove it and its mask.",
                f"Make that the next version: `dvc add {self.own}`, then `git add {self.own}.dvc`, then `git commit`. The version "
                "before stays in DVC's cache; `losslab docs data-versions` says how to go back.",
                f"Run `{again} {self.name}{options}` again: it trains on the corrected version, and what was hidden behind worse "
                "masks may show.",
            ]
        raw = f"data/raw/{self.name}/fetched"
        return [
            f"The masks of {self.name} are fetched or drawn, so a change in {raw} would be undone. Copy them to data of your own: "
            f"`losslab datasets new {self.name}_corrected --images FOLDER --masks FOLDER`, with the folders of images and masks in "
            f"{raw} (where that is not on this disk: `dvc repro download`, with dataset: {self.name} in params.yaml).",
            "Correct the mask's file in the copy, then `dvc add`, `git add` and `git commit` as `losslab datasets new` says.",
            f"Run `{again} {self.name}_corrected{options}`.",
        ]


def find_dataset(name: str, root: Path) -> DoubtedDataset:
    """Find a dataset whose masks can be doubted.

    Raises InputError if there is no such card, its classes overlap, its data are not on this disk, or its card or files are
    not those of the last commit, which is what runs take.
    """
    check_root(root)
    if not (root / CATALOG / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in (root / CATALOG).glob("*.yaml"))
        raise InputError(explain_unknown(f"no such dataset: {quote(name)} (losslab datasets lists them)", name, known))
    card = read_card(name, root / CATALOG)
    if card.is_overlapping:
        raise InputError(f"{name}: its classes overlap; doubt ranks masks in which each pixel is of one class")
    is_own = isinstance(card.source, OwnSource)
    folder = find_dataset_folder(card, Path("data/raw") / name)
    if is_own and not (root / folder).is_dir():
        raise InputError(
            f"{folder}: the data of {name} are not on this disk; dvc checkout {folder}.dvc brings back what was added"
        )
    paths = [f"{CATALOG}/{name}.yaml", *([f"{folder}.dvc"] if is_own else [])]
    texts = []
    for path in paths:
        try:
            texts.append(read_file_at(root, find_head(root), path))
        except FileNotFoundError:
            add = f"dvc add {folder}, then " if path.endswith(".dvc") and not (root / path).is_file() else ""
            raise InputError(
                f"{path} is not committed, and runs take the last commit: {add}git add {path} and commit"
            ) from None
    if changed := list_changes(root, paths):
        raise InputError(f"{changed[0]} has changes that are not committed, and runs take the last commit: commit them")
    if is_own and _has_changes(root, f"{folder}.dvc"):
        raise InputError(f"{folder} has changes that DVC does not know: dvc add {folder}, then commit {folder}.dvc")
    version = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:DIGEST_CHARS]
    return DoubtedDataset(name, card, folder if is_own else None, version)


def write_study(dataset: DoubtedDataset, folds: int, sets: Sequence[str], root: Path) -> Study:
    """Write the file of the study that predicts each image by a net that never saw it, and return the study.

    The same dataset, version, folds and sets give the same study, so that its finished runs count again. Raises InputError
    if a set is wrong, or is of a key that the study itself sets, or there are too few images for so many folds.

    Args:
        sets: `key=value` each, over the committed params.yaml.
    """
    base = read_committed_params(root)
    changes = [parse_assignment(text, "train.epochs=3") for text in sets]
    if twice := [key for key, _ in changes if [other for other, _ in changes].count(key) > 1]:
        raise InputError(f"--set: {twice[0]} is set twice")
    given = flatten_overrides(dict(changes), "--set")
    if clash := find_clash(given, {tuple(key.split(".")): None for key in FIXED}):
        raise InputError(f"--set {clash}: doubt sets it itself; --folds is the number of folds")
    content: dict[str, Any] = {
        "title": f"Out-of-fold predictions of {dataset.name}",
        "question": "Which masks do nets contradict that never saw them?",
        "params": {
            "dataset": dataset.name,
            "prepare.split.method": "kfold",
            "prepare.split.folds": folds,
            "prepare.split.val": VAL_SHARE,
            **{".".join(path): value for path, value in given.items()},
        },
        "grid": {"prepare.split.fold": list(range(folds))},
        "seeds": [base.get("seed", 0)],
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    digest = hashlib.sha256(f"{dataset.version}\0{text}".encode()).hexdigest()[:DIGEST_CHARS]
    name = f"doubt_{make_slug(dataset.name)}.{digest}"
    path = root / STUDIES / f"{name}.yaml"
    write_text(path, HEADING.format(dataset=dataset.name, folds=folds) + text)
    try:
        study = read_study(name, root)
        _check_folds(dataset, study, root)
        return study
    except InputError as error:
        path.unlink()
        raise InputError(str(error).removeprefix(f"studies/{name}.yaml: ")) from None


def _check_folds(dataset: DoubtedDataset, study: Study, root: Path) -> None:
    """Raise InputError if the images, where they are on this disk, cannot be dealt into the folds."""
    folder = find_dataset_folder(dataset.card, root / "data/raw" / dataset.name)
    if folder.is_dir():
        first = study.build_run(study.cells[0], None, study.card.seeds[0])
        prepare = PrepareParams.model_validate(first.params["prepare"])
        samples = choose_samples(read_layout(dataset.card, folder).samples, prepare.limit, prepare.split)
        groups = dataset.card.find_groups([sample.name for sample in samples])
        split_samples(samples, prepare.split, {}, groups.__getitem__)


def _has_changes(root: Path, dvc_file: str) -> bool:
    """Return whether files that DVC tracks are not as they were added."""
    with open_repository(root) as repo:
        return bool(repo.status(targets=[str(root / dvc_file)]))
