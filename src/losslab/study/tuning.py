"""Trials of a tuning: the values that are tried, one setting that all cells share, and Optuna's proposals after it."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from losslab.formats import format_plural
from losslab.io.files import flatten, read_json, write_json
from losslab.study.overrides import Overrides, flatten_overrides
from losslab.study.spec import Domain, Scalar, SearchSpec, StudySpec, ValueRange, format_label

DIGITS = 3
"""Significant digits of a proposed number, so that it can be read, and be written into a card."""
RANDOM_TRIALS = 8
"""Trials before the sampler begins to learn, the shared setting among them; the same for all budgets, so that a search whose
budget is raised goes on. Simulated searches of 12 and 24 trials are as good with it as with 3, 4, 5 and 10, or better."""
MAX_DRAWS = 100
"""Draws after which a setting that was tried before is proposed again."""


@dataclass(frozen=True)
class Trial:
    """Values of the tuned keys that are tried together."""

    label: str
    """The value of a single key whose values are listed, or t00, t01, …; r1t00 in the second search of a cell."""
    changes: Overrides = field(compare=False, repr=False)
    epochs: int | None = None
    """Epochs of a trial that is cut short, to find those that are run in full; None: in full."""

    def __str__(self) -> str:
        return self.name if self.label in self.values.values() else f"{self.name}: {self.setting}"

    @property
    def name(self) -> str:
        """Part of the names of its runs, such as t00, or t00e3 if it is cut short after 3 epochs."""
        return self.label + ("" if self.epochs is None else f"e{self.epochs}")

    @property
    def values(self) -> dict[str, str]:
        """Key → value, as YAML writes it."""
        return {".".join(path): format_label(value) for path, value in self.changes.items()}

    @property
    def setting(self) -> str:
        """The values in words."""
        return describe_setting(self.values)


def describe_setting(values: Mapping[str, str]) -> str:
    """Write values with their keys.

    >>> describe_setting({"train.lr": "0.001", "loss_options.gamma": "2"})
    'train.lr 0.001, loss_options.gamma 2'
    """
    return ", ".join(f"{key} {value}" for key, value in values.items())


def list_listed_trials(card: StudySpec) -> list[Trial]:
    """Return a trial for each value of the one key whose values are listed."""
    return [
        Trial(format_label(value), flatten_overrides({key: value}, f"tune.{key}"))
        for key, domain in card.tuned.items()
        for value in (domain if isinstance(domain, list) else ())
    ]


def choose_shared_setting(card: StudySpec, params: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the value of each tuned key in the trial that all cells share.

    That is the one of params where it can be tried, else the middle of its range, or the first of its list.
    """
    given = flatten(params)
    return {key: _choose_shared(domain, given.get(key)) for key, domain in card.tuned.items()}


def describe_domains(card: StudySpec, params: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return each tuned key, what is tried of it, and its value in the shared trial with where that is from."""
    shared, given = choose_shared_setting(card, params), flatten(params)
    rows = []
    for key, domain in card.tuned.items():
        value, is_list = format_label(shared[key]), isinstance(domain, list)
        is_given = key in given and format_label(given[key]) == value
        origin = "the params" if is_given else "the first" if is_list else "the middle of the range"
        rows.append((key, _describe_domain(domain), f"{value} ({origin})"))
    return rows


def _describe_domain(domain: Domain) -> str:
    if isinstance(domain, list):
        return ", ".join(map(format_label, domain))
    return f"{format_label(domain.low)} to {format_label(domain.high)}{', log' if domain.log else ''}"


def list_extreme_settings(card: StudySpec) -> list[dict[str, Scalar]]:
    """Return settings of one key each, with every listed value and both ends of each range."""
    return [
        {key: value}
        for key, domain in card.tuned.items()
        for value in ([domain.low, domain.high] if isinstance(domain, ValueRange) else domain)
    ]


def propose_setting(
    search: SearchSpec,
    seed: str,
    earlier: Sequence[tuple[Mapping[str, Scalar], float]],
    record: Path | None = None,
) -> dict[str, Scalar]:
    """Propose the next setting of a search: at random at first, then by Optuna's tree-structured Parzen estimator.

    It depends on nothing but the arguments, so a search that was interrupted goes on as if it had not been; with a record
    also where another version of Optuna would propose something else.

    Args:
        search: what is searched.
        seed: words that tell this search from others.
        earlier: settings tried before, in order, with their scores; -inf for a run that failed, which is worse than any.
        record: a file that keeps what was proposed. Raises InputError if it is broken.

    Source: Bergstra et al., Algorithms for hyper-parameter optimization, NeurIPS 2011, as Optuna has it.
    """
    asked = json.dumps([search.model_dump()["params"], seed, earlier])
    if (record, asked) not in _PROPOSED:
        key = hashlib.sha256(asked.encode()).hexdigest()[:16]
        known = read_json(record) if record is not None and record.exists() else {}
        if key not in known:
            known[key] = _ask_optuna(search, seed, earlier)
            if record is not None:
                with suppress(OSError):  # a project that only can be read: then it is proposed anew each time
                    write_json(record, known)
        _PROPOSED[record, asked] = known[key]
    return _PROPOSED[record, asked]


def describe_search(search: SearchSpec) -> str:
    """Say in words what each cell gets.

    >>> describe_search(SearchSpec(budget=12, params={"train.lr": ValueRange(low=1e-4, high=1e-2)}, repeats=2))
    '2 searches of each cell, of 12 trials'
    """
    trials = f"{format_plural(search.repeats, 'search', 'searches')} of each cell, of {format_plural(search.budget, 'trial')}"
    if (prune := search.prune) is None:
        return trials
    return f"{trials} of {format_plural(prune.epochs, 'epoch')}, the best {prune.keep} then in full"


_PROPOSED: dict[tuple[Path | None, str], dict[str, Scalar]] = {}
"""What was proposed before: a running study asks the same a few times a second."""


def _ask_optuna(
    search: SearchSpec, seed: str, earlier: Sequence[tuple[Mapping[str, Scalar], float]]
) -> dict[str, Scalar]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {key: _build_distribution(domain) for key, domain in search.params.items()}
    digest = hashlib.sha256(f"{seed}/{len(earlier)}".encode()).digest()
    sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest[:4], "big"), n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(sampler=sampler, direction="maximize")
    worst = min((score for _, score in earlier if math.isfinite(score)), default=0.0) - 1.0
    for setting, score in earlier:
        told = {key: _encode(search.params[key], value) for key, value in setting.items()}
        value = score if math.isfinite(score) else worst
        study.add_trial(optuna.trial.create_trial(params=told, distributions=distributions, value=value))
    tried = [setting for setting, _ in earlier]
    for _ in range(MAX_DRAWS):
        asked = study.ask(distributions).params
        proposed = {key: _decode(domain, asked[key]) for key, domain in search.params.items()}
        if proposed not in tried:
            break
    return proposed


def _build_distribution(domain: Domain) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(domain, list):
        return CategoricalDistribution([format_label(value) for value in domain])
    kind = IntDistribution if domain.is_whole else FloatDistribution
    return kind(domain.low, domain.high, log=domain.log)  # type: ignore[arg-type]


def _encode(domain: Domain, value: Scalar) -> Scalar:
    return format_label(value) if isinstance(domain, list) else value


def _decode(domain: Domain, proposed: Any) -> Scalar:
    if isinstance(domain, list):
        return {format_label(value): value for value in domain}[proposed]
    return proposed if domain.is_whole else _round(proposed, domain)


def _choose_shared(domain: Domain, given: Scalar) -> Scalar:
    if isinstance(domain, list):
        return next((value for value in domain if format_label(value) == format_label(given)), domain[0])
    low, high = domain.low, domain.high
    is_number = isinstance(given, int if domain.is_whole else int | float) and not isinstance(given, bool)
    if is_number and low <= given <= high:  # type: ignore[operator]
        return given
    middle = math.sqrt(low * high) if domain.log else (low + high) / 2
    return round(middle) if domain.is_whole else _round(middle, domain)


def _round(value: float, domain: ValueRange) -> float:
    return float(min(max(float(f"{value:.{DIGITS}g}"), domain.low), domain.high))
