"""Figures, ratios and verdicts from measurements, and their Markdown."""

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TITLES = {
    "notebook": "a. notebook loop",
    "lightning": "b. smp's Lightning example",
    "losslab": "c. losslab",
    "bare": "d. bare step",
    "losslab_free": "c. losslab, not deterministic",
}
MIN_RATIO_NATIVE_BF16, MIN_RATIO, MIN_RATIO_GPU, MAX_MEMORY_RATIO, MAX_FIRST_STEP_S = 4.0, 1.5, 5.0, 1.1, 12.0
MIN_RATIO_BARE = 0.95
MIN_PREPARED_PER_S, MAX_PREPARE_MEMORY_RATIO = 250, 1.5  # names and counts add to the 40 MiB or so of prepare

PRECISIONS = {"32-true": "float32", "bf16-mixed": "bf16"}

Round = Mapping[str, Mapping[str, Any]]
"""Contestant → the measurements of its stopwatch, and `first_step_s`."""


@dataclass(frozen=True)
class Spread:
    """The median of a few rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        if self.low == self.high:
            return format(self.median, spec)
        return f"{self.median:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def compute_spread(values: Iterable[float]) -> Spread:
    rounds = list(values)
    return Spread(statistics.median(rounds), min(rounds), max(rounds))


@dataclass(frozen=True)
class ClaimVerdict:
    claim: str
    measured: str
    passed: bool


@dataclass(frozen=True)
class SpeedComparison:
    """The results of some rounds of all contestants with the same settings."""

    figures: dict[str, dict[str, Spread]]
    """Contestant → train and evaluation in img/s, peak_mib, peak_worker_mib, first_step_s, the shares loader_busy and
    gemm_share, and gpu_busy with a GPU. The bare step evaluates nothing."""
    ratios: dict[str, dict[str, Spread]]
    """Train and evaluation → contestant → ratio of losslab's img/s to the contestant's, round by round."""
    precisions: dict[str, str]
    step_gflops: float
    """10^9 operations of a training step for an image."""
    gemm_gflops_per_s: dict[str, Spread]
    """The machine's rate in products of large matrices, by precision."""


def compute_images_per_second(epochs: Sequence[Sequence[float]]) -> float:
    """Compute the speed from (seconds, images) of each epoch, without the first."""
    counted = epochs[1:]
    return sum(images for _, images in counted) / sum(seconds for seconds, _ in counted)


def compare(rounds: Sequence[Round]) -> SpeedComparison:
    names = list(rounds[0])
    figures: dict[str, dict[str, Spread]] = {}
    ratios: dict[str, dict[str, Spread]] = {}
    for name in names:
        own = [measured[name] for measured in rounds]
        figures[name] = {
            kind: compute_spread(compute_images_per_second(m[kind]) for m in own)
            for kind in ("train", "evaluation")
            if own[0][kind]
        }
        for kind in ("peak_mib", "peak_worker_mib", "first_step_s"):
            figures[name][kind] = compute_spread(m[kind] for m in own)
        figures[name]["loader_busy"] = compute_spread(share for m in own for share in m["loader_busy"][1:])
        figures[name]["gemm_share"] = compute_spread(compute_gemm_share(measured, name) for measured in rounds)
        busy = [share for m in own for share in m["gpu_busy"][1:] if share is not None]
        if busy:
            figures[name]["gpu_busy"] = compute_spread(busy)
    for kind in ("train", "evaluation"):
        ratios[kind] = {
            name: compute_spread(
                compute_images_per_second(measured["losslab"][kind]) / compute_images_per_second(measured[name][kind])
                for measured in rounds
            )
            for name in names
            if name != "losslab" and kind in figures[name]
        }
    bare = [measured["bare"] for measured in rounds]
    return SpeedComparison(
        figures,
        ratios,
        precisions={name: rounds[0][name]["precision"] for name in names},
        step_gflops=bare[0]["step_gflops"],
        gemm_gflops_per_s={
            precision: compute_spread(m["gemm_gflops_per_s"][precision] for m in bare)
            for precision in bare[0]["gemm_gflops_per_s"]
        },
    )


def compute_gemm_share(measured: Round, name: str) -> float:
    """Compute the share of the machine's rate of matrix products, in the contestant's precision, that its training reached."""
    bare, own = measured["bare"], measured[name]
    rate: float = bare["gemm_gflops_per_s"][own["precision"]]
    gflops: float = bare["step_gflops"]
    return compute_images_per_second(own["train"]) * gflops / rate


def summarise(results: Mapping[str, Any]) -> dict[str, Any]:
    """Summarise what benchmarks.run measured as everything that is reported, ready for JSON."""
    cpu = compare(results["rounds"])
    gpu = compare(results["gpu_rounds"]) if results["gpu_rounds"] else None
    verdicts = list(_judge_claims(results, cpu, gpu))
    return {
        "machine": results["machine"],
        "data": results["data"],
        "settings": results["settings"],
        "comparison": asdict(cpu),
        "memory": results["memory"],
        "preparing": _summarise_preparing(results["preparing"]),
        "imports": results["imports"],
        "gpu": asdict(gpu) if gpu else None,
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "measurements": {
            "rounds": results["rounds"],
            "gpu_rounds": results["gpu_rounds"],
            "preparing": results["preparing"]["rounds"],
        },
    }


def _summarise_preparing(results: Mapping[str, Any]) -> dict[str, Any]:
    rates = {
        who: compute_spread(one[who]["images_per_s"] for one in results["rounds"]) for who in ("plain_loop", "losslab")
    }
    ratio = compute_spread(
        one["losslab"]["images_per_s"] / one["plain_loop"]["images_per_s"] for one in results["rounds"]
    )
    return {
        "data": results["data"],
        "images": results["images"],
        "images_per_s": {who: asdict(rate) for who, rate in rates.items()},
        "ratio": asdict(ratio),
        "anonymous_mib": results["anonymous_mib"],
    }


def _judge_claims(
    results: Mapping[str, Any], cpu: SpeedComparison, gpu: SpeedComparison | None
) -> Iterator[ClaimVerdict]:
    def check_at_least(what: str, ratio: Spread, wanted: float) -> ClaimVerdict:
        return ClaimVerdict(f"{what}: at least {wanted:g} times", f"{ratio:.2f}", ratio.median >= wanted)

    def check_at_most(what: str, value: Spread | float, wanted: float, unit: str = "") -> ClaimVerdict:
        median = value.median if isinstance(value, Spread) else value
        return ClaimVerdict(f"{what}: at most {wanted:g}{unit}", f"{value:.2f}{unit}", median <= wanted)

    native = results["machine"]["native_bf16"]
    kind = f"with native bf16 ({results['machine']['bf16_unit']})" if native else "without native bf16"
    wanted = MIN_RATIO_NATIVE_BF16 if native else MIN_RATIO
    if not results["machine"]["cuda"]:
        yield check_at_least(
            f"training over the notebook loop, on a CPU {kind}", cpu.ratios["train"]["notebook"], wanted
        )
    yield check_at_least("training over smp's example", cpu.ratios["train"]["lightning"], 1.0)
    yield check_at_least("training over the bare step", cpu.ratios["train"]["bare"], MIN_RATIO_BARE)
    yield check_at_least("evaluation over smp's example", cpu.ratios["evaluation"]["lightning"], 1.0)
    memory = results["memory"]
    yield check_at_most(
        "peak memory at 10 times the images", memory["peak_mib"][1] / memory["peak_mib"][0], MAX_MEMORY_RATIO
    )
    yield check_at_most(
        "python src/train.py to the end of its first step",
        cpu.figures["losslab"]["first_step_s"],
        MAX_FIRST_STEP_S,
        " s",
    )
    preparing = _summarise_preparing(results["preparing"])
    rate = Spread(**preparing["images_per_s"]["losslab"])
    yield ClaimVerdict(
        f"prepare: at least {MIN_PREPARED_PER_S} images a second", f"{rate:.0f}", rate.median >= MIN_PREPARED_PER_S
    )
    few, many = preparing["anonymous_mib"]
    if few and many:
        yield check_at_most("prepare's own memory at 10 times the images", many / few, MAX_PREPARE_MEMORY_RATIO)
    if gpu:
        yield check_at_least(
            "on the GPU, training over the notebook loop", gpu.ratios["train"]["notebook"], MIN_RATIO_GPU
        )
        yield check_at_least("on the GPU, training over smp's example", gpu.ratios["train"]["lightning"], 1.0)
        yield check_at_least("on the GPU, training over the bare step", gpu.ratios["train"]["bare"], MIN_RATIO_BARE)


def render_markdown(summary: Mapping[str, Any]) -> str:
    machine, settings, memory = summary["machine"], summary["settings"], summary["memory"]
    preparing = summary["preparing"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    units = {"AMX": "amx_bf16", "AVX-512 bf16": "avx512_bf16"}
    has = ", ".join(f"{unit}: {'yes' if name in machine['features'] else 'no'}" for unit, name in units.items())
    bf16 = f"bf16 by {machine['bf16_unit']}" if machine["bf16_unit"] else "no native bf16"
    lines = [
        "# losslab's speed",
        "",
        f"{machine['hardware']}; {' '.join(machine['features'])}; {has}, {bf16}; {machine['threads']} threads; {versions}. "
        + ("" if machine["load"] is None else f"Load before the start: {machine['load']:.1f}. ")
        + " ".join(f"{name}={value}" for name, value in machine["environment"].items()),
        f"{summary['data']}. Unet on {settings['encoder']}, {settings['size']} x {settings['size']}, "
        f"batch {settings['batch_size']}, {settings['images']} training images. Median of {settings['rounds']} rounds "
        "(lowest to highest).",
        "",
        *_render_comparison(summary["comparison"]),
        "",
        "| claim | measured | |",
        "|---|---|---|",
        *(
            f"| {verdict['claim']} | {verdict['measured']} | {'PASS' if verdict['passed'] else 'FAIL'} |"
            for verdict in summary["verdicts"]
        ),
        "",
        "## Memory and images",
        "",
        "Peaks of losslab's train and evaluate. Pages of mapped files count as resident until the system takes them back; "
        "anonymous memory is the process's own.",
        "",
        "| images | peak resident, MiB | peak anonymous, MiB |",
        "|---|---|---|",
        *(
            f"| {images} | {peak:.0f} | {_format_mib(own)} |"
            for images, peak, own in zip(memory["images"], memory["peak_mib"], memory["anonymous_mib"], strict=True)
        ),
        "",
        "## Preparing",
        "",
        f"{preparing['data']}; the loop is one thread of OpenCV that checks nothing and keeps everything in memory; "
        "losslab audits and splits on all cores.",
        "",
        "| | images/s | own memory, MiB |",
        "|---|---|---|",
        f"| plain loop, {preparing['images'][0]} images | {_format_spread(preparing['images_per_s']['plain_loop'], '.0f')} | |",
        f"| losslab, {preparing['images'][0]} images | {_format_spread(preparing['images_per_s']['losslab'], '.0f')} "
        f"({_format_spread(preparing['ratio'], '.2f')} times the loop) | {_format_mib(preparing['anonymous_mib'][0])} |",
        f"| losslab, {preparing['images'][1]} images | | {_format_mib(preparing['anonymous_mib'][1])} |",
        "",
        "## Imports",
        "",
        "Seconds in a fresh process, with everything that each module imports in turn.",
        "",
        "| module | s |",
        "|---|---|",
        *(f"| {module} | {seconds:.2f} |" for module, seconds in summary["imports"].items()),
    ]
    if summary["gpu"]:
        price = summary["gpu"]["ratios"]["train"]["losslab_free"]
        lines += ["", "## GPU", "", *_render_comparison(summary["gpu"]), ""]
        lines += [
            f"Deterministic training runs at {_format_spread(price, '.2f')} of the speed of nondeterministic training."
        ]
    return "\n".join(lines) + "\n"


def _render_comparison(comparison: Mapping[str, Any]) -> Iterator[str]:
    columns: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
        "training in": lambda name, _: PRECISIONS[comparison["precisions"][name]],
        "training, img/s": lambda _, own: _format_spread(own["train"], ".2f"),
        "losslab/this": lambda name, _: _format_ratio(comparison["ratios"]["train"], name),
        "of GEMM's rate": lambda _, own: _format_spread(own["gemm_share"], ".0%"),
        "loader busy": lambda _, own: _format_spread(own["loader_busy"], ".1%"),
        "evaluation, img/s": lambda _, own: _format_spread(own["evaluation"], ".2f") if "evaluation" in own else "",
        "losslab/this ": lambda name, _: _format_ratio(comparison["ratios"]["evaluation"], name),
        "first step, s": lambda _, own: _format_spread(own["first_step_s"], ".1f"),
        "peak memory, MiB": lambda _, own: f"{own['peak_mib']['median']:.0f}",
    }
    if any("gpu_busy" in own for own in comparison["figures"].values()):
        columns["GPU busy"] = lambda _, own: _format_spread(own["gpu_busy"], ".0%") if "gpu_busy" in own else ""
    yield f"| | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for name, own in comparison["figures"].items():
        yield f"| {TITLES[name]} | {' | '.join(column(name, own) for column in columns.values())} |"
    rates = ", ".join(
        f"{_format_spread(rate, '.0f')} GFLOP/s in {PRECISIONS[name]}"
        for name, rate in comparison["gemm_gflops_per_s"].items()
    )
    yield ""
    yield f"A training step is {comparison['step_gflops']:.1f} GFLOP for an image; products of large matrices (GEMM) reach {rates}."


def _format_mib(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _format_ratio(ratios: Mapping[str, Any], name: str) -> str:
    return _format_spread(ratios[name], ".2f") if name in ratios else ""


def _format_spread(value: Mapping[str, float], spec: str) -> str:
    return format(Spread(**value), spec)
