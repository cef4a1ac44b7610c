"""The schema of params.yaml: strict, so that a typo is an error before any work is done.

Every key must be there and none has a default here: DVC sees what it may compare, and this file can change without
changing any result.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from losslab.cards import read_card
from losslab.errors import InputError, quote, suggest_name
from losslab.io.files import flatten
from losslab.io.yaml import Section, read_yaml, validate
from losslab.losses.parsed_loss import ParsedLoss, parse_loss
from losslab.models.encoders import check_encoder_listed
from losslab.models.registry import check_arch_options, check_batch, check_encoder_given
from losslab.plugins.manifest import explain_unknown, find_entry, find_plugins
from losslab.plugins.options import build_schema
from losslab.schedules import check_schedule

MAX_SIZE_PX = 4096
RECORDING = "mlflow"
"""Section that no stage depends on: it says how a run is recorded, and changes no out."""
AUGMENTATIONS = ("none", "flip", "seed_lab7", "affine", "strong")
"""losslab's own recipes; plug-ins add others."""
RESERVED_METRICS = re.compile(
    "(iou|m?dice|m?precision|recall|accuracy|error_rate|hit|truth|predicted|overlap|band|hd95|support|surface_dice|ece|miou|"
    "mean_accuracy|loss|fwiou|pixel_accuracy|mcc|boundary_iou|threshold|seed_score|score|class|classes_scored|split|image|images|"
    "group)(_.*)?"
)
"""Names that a plug-in's metric may not have: losslab's own scores and columns, and those with a class's name behind."""
Sampling = Literal["uniform", "foreground", "balanced"]


class DownloadParams(Section):
    source: str | None
    """A folder in the dataset's layout, or one with its archives; None stands for the network or the generator."""


class SplitParams(Section):
    method: Literal["official", "random", "stratified", "grouped", "kfold", "crossval"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    folds: int = Field(ge=2)
    fold: int = Field(ge=0)
    """Fold that is the test split with the method kfold, and the val split with crossval."""

    @model_validator(mode="after")
    def _check_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(
                f"val {self.val} and test {self.test} leave nothing to train on; their sum must be below 1"
            )
        if self.fold >= self.folds:
            raise ValueError(f"fold is {self.fold}; with {self.folds} folds it must be 0 to {self.folds - 1}")
        return self


class PrepareParams(Section):
    size: int = Field(gt=0, le=MAX_SIZE_PX)
    fit: Literal["stretch", "letterbox", "tile"]
    limit: int | None = Field(ge=3)
    """Prepare at most this many images, for a quick trial; None prepares all."""
    audit: Literal["strict", "warn"]
    split: SplitParams


class TrainParams(Section):
    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    """Images per step over all devices."""
    accumulate: int = Field(gt=0)
    lr: float = Field(gt=0)
    encoder_lr: float | None = Field(gt=0)
    freeze_encoder_epochs: int = Field(ge=0)
    """First epochs in which neither the encoder's weights nor its batch norm's statistics change."""
    optimizer: Literal["adam", "adamw", "sgd"]
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "cosine", "one_cycle", "poly", "plateau"]
    schedule_options: dict[str, Any]
    warmup_epochs: float = Field(ge=0)
    """Epochs in which the rate rises linearly from 0, before the schedule begins; 0.5 is half an epoch."""
    clip_grad_norm: float | None = Field(gt=0)
    ema: float | None = Field(gt=0, lt=1)
    """Decay of a moving average of the weights, which is validated and kept: min(ema, (1 + n)/(10 + n)) after n steps."""
    early_stopping: int | None = Field(gt=0)
    augmentation: str
    crop: int | None = Field(gt=0)
    """Pixels a side of the random crops that training is on, as many of an image as cover it; None: whole images,
    or tiles of them with fit: tile."""
    sampling: Sampling
    """Whether crops may lie anywhere (uniform), or half of them hold a pixel of any class but the first (foreground), or
    each one of a class that is drawn from the image's (balanced)."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    device: Literal["auto", "cpu", "cuda"]
    devices: int = Field(gt=0)
    nodes: int = Field(gt=0)
    strategy: str = Field(min_length=1)
    workers: int = Field(ge=0, le=512)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        processes = self.devices * self.nodes
        if self.batch_size % processes:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of {processes} processes (devices x nodes)"
            )
        if any(kind in self.strategy.lower() for kind in ("spawn", "fork", "notebook")):
            raise ValueError(f"strategy {quote(self.strategy)} forks this process, which is not supported; use ddp")
        if self.crop is None and self.sampling != "uniform":
            raise ValueError(f"sampling is '{self.sampling}', but crop is null: it draws crops; set crop, or uniform")
        for name in ("warmup_epochs", "freeze_encoder_epochs"):
            if getattr(self, name) >= self.epochs:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be below epochs, {self.epochs}")
        return self


Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class EnsembleMember(Section):
    """A trained run, by the bytes that its part in an ensemble depends on."""

    run: str = Field(min_length=1)
    """Name of the run, for readers."""
    weights: Md5
    """Md5 of its model.safetensors, by which DVC's cache has it."""
    description: Md5
    """Md5 of its model.json."""
    images: Md5
    """Md5 of the index.csv of its prepared data, which names the images that it was trained on."""
    settings: dict[str, Any]
    """Params in which the members differ, by dotted key, for readers."""


class EnsembleParams(Section):
    """Several trained runs that are scored as one; `losslab ensemble` writes it."""

    average: Literal["probabilities", "weights"]
    """Whether the members' probabilities are averaged, or their weights, which makes one net of them (a soup)."""
    members: list[EnsembleMember] = Field(min_length=2)
    """The runs, of which no two have the same net."""

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        known: dict[str, str] = {}
        for member in self.members:
            same = known.setdefault(member.weights, member.run)
            if same is not member.run:
                raise ValueError(f"members {quote(same)} and {quote(member.run)} are the same net")
        if len({member.run for member in self.members}) < len(self.members):
            raise ValueError("two members have the same name")
        return self


class EvaluateParams(Section):
    batch_size: int = Field(gt=0)
    resolution: Literal["prepared", "original"]
    """Score at the size of the prepared images, or at that of the original files."""
    tta: Literal["none", "flip", "flip_scale"]
    tolerances: list[Annotated[int, Field(gt=0, le=64)]] = Field(min_length=1)
    """Pixels by which a contour may be off in the surface Dice."""
    metrics: dict[str, dict[str, Any]]
    """Options of each metric of a plug-in, by its name."""
    predictions: int = Field(ge=0)
    ensemble: EnsembleParams | None
    """Trained runs that are scored together in place of this run's net; `losslab ensemble` sets it."""


class ReportParams(Section):
    examples: int = Field(ge=0)


class MlflowParams(Section):
    weights: Literal["reference", "copy"]
    """Whether a run's logged model names its weights, which DVC's cache has, or has a copy of them."""


class Params(Section):
    """The checked content of params.yaml: one run."""

    dataset: str
    seed: int = Field(ge=0, lt=2**32)
    loss: str
    loss_options: dict[str, Any]
    arch: str
    arch_options: dict[str, Any]
    encoder: str | None
    encoder_weights: str | None
    download: DownloadParams
    prepare: PrepareParams
    train: TrainParams
    evaluate: EvaluateParams
    report: ReportParams
    mlflow: MlflowParams

    @cached_property
    def parsed_loss(self) -> ParsedLoss:
        """`loss` and `loss_options`, parsed once for all who need them.

        A `model_copy` with another loss would keep it: make changed params with `check_params`.
        """
        return parse_loss(self.loss, self.loss_options)


def load(path: Path | str = "params.yaml") -> Params:
    """Read and check params.yaml; data/catalog lies beside it. Raises InputError that names all keys at fault."""
    path = Path(path)
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run from the root of the repository") from None
    return check_params(content, path, path.parent / "data/catalog")


def check_params(content: Any, where: Path | str, catalog: Path) -> Params:
    """Check the content of a params.yaml. Raises InputError that begins with `where` the content comes from."""
    params = validate(Params, content, where)
    try:
        _check_across(params, catalog)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return params


def _check_across(params: Params, catalog: Path) -> None:
    """Check names against the registries and the catalog, and values that must fit each other."""
    datasets = sorted(card.stem for card in catalog.glob("*.yaml"))
    if params.dataset not in datasets:
        close = suggest_name(params.dataset, datasets)
        raise InputError(
            f"dataset: {quote(params.dataset)} is not one of {', '.join(datasets)} (the cards in data/catalog){close}"
        )
    card = read_card(params.dataset, catalog)
    method = params.prepare.split.method
    if method == "official" and not card.has_official_split:
        raise InputError(f"prepare.split.method is 'official', but {params.dataset} has no official split; use random")
    if method == "grouped" and card.group is None:
        raise InputError(
            f"prepare.split.method is 'grouped', but the card of {params.dataset} has no group; use random"
        )
    params.parsed_loss.check_classes(card.num_outputs, card.is_overlapping)
    for key, options in {
        "loss_options": params.loss_options,
        "arch_options": params.arch_options,
        "evaluate.metrics": params.evaluate.metrics,
    }.items():
        if overlooked := {"size", "nfiles"}.intersection(".".join(flatten(options)).split(".")):
            raise InputError(f"{key}: {overlooked.pop()} is a key that DVC's run cache overlooks; rename it")
    _check_augmentation(params.train.augmentation)
    _check_metrics(params.evaluate.metrics)
    check_schedule(params.train.schedule, params.train.schedule_options)
    check_encoder_given(params.arch, params.encoder, params.encoder_weights)
    check_arch_options(params.arch, params.arch_options)
    if params.encoder is not None:
        check_encoder_listed(params.arch, params.encoder)
    else:
        for key, unset in (("encoder_lr", None), ("freeze_encoder_epochs", 0)):
            if (value := getattr(params.train, key)) != unset:
                raise InputError(
                    f"train.{key} is {value}, but arch {params.arch} has no encoder; set it to "
                    f"{'null' if unset is None else unset}"
                )
    size, crop = params.prepare.size, params.train.crop
    if crop is not None and crop > size:
        raise InputError(
            f"train.crop is {crop}, but images have prepare.size {size} pixels a side; it must be at most that"
        )
    check_batch(params.arch, crop or size, params.train.batch_size)


def _check_augmentation(name: str) -> None:
    if find_entry("augmentation", name, AUGMENTATIONS) is None and name not in AUGMENTATIONS:
        known = [*AUGMENTATIONS, *find_plugins().select("augmentation")]
        error = f"train.augmentation: {quote(name)} is not one of {', '.join(known)}"
        raise InputError(explain_unknown(error, name, known))


def _check_metrics(chosen: dict[str, dict[str, Any]]) -> None:
    known = find_plugins().select("metric") if chosen else {}
    for name, options in chosen.items():
        if name not in known:
            listed = f"one of {', '.join(known)}" if known else "there: metrics of your own are functions in plugins/"
            raise InputError(explain_unknown(f"evaluate.metrics: {quote(name)} is not {listed}", name, known))
        if RESERVED_METRICS.fullmatch(name):
            raise InputError(f"{known[name].place}: {name} is a score or column of losslab; give yours another name")
        validate(build_schema(name, known[name].options, Section), options, f"evaluate.metrics.{name}")
