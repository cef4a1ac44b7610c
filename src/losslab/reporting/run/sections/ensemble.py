"""What the report says of an ensemble: whose scores these are, and how val was predicted."""

from losslab.formats import format_count, format_list, format_plural
from losslab.io.files import JsonObject
from losslab.reporting.run.inputs import ReportInputs

MAX_NAMES = 8
STARTS = {
    "none": "The nets began with different random weights, so a mean of their weights is mostly no net that segments.",
    "encoder": "The nets share the start of their encoder alone; their decoders began with different random weights.",
}
"""What is to be said of a soup, by what its members had in common before they were trained."""


def name_subject(outs: ReportInputs) -> str:
    """Name what was scored: the net, or an ensemble."""
    ensemble = outs.evaluation.get("ensemble")
    if ensemble is None:
        return "the net"
    nets = format_plural(len(ensemble["members"]), "net")
    return f"the ensemble of {nets}" if ensemble["average"] == "probabilities" else f"the soup of {nets}"


def describe_ensemble(outs: ReportInputs) -> list[str]:
    """Describe an ensemble in a paragraph; nothing for a run of one net."""
    if (ensemble := outs.evaluation.get("ensemble")) is None:
        return []
    facts: JsonObject = outs.evaluation["ensemble_facts"]
    averaged = {
        "probabilities": "the mean of their probabilities",
        "weights": "one net with the mean of their weights, whose batch norms have seen the training images anew",
    }[ensemble["average"]]
    names = [_describe_member(member) for member in ensemble["members"]]
    sentences = [
        f"These scores are of {name_subject(outs)}, {averaged}: {format_list(names, MAX_NAMES)}.",
        _describe_val(facts),
    ]
    if ensemble["average"] == "weights" and facts["common_start"] in STARTS:
        sentences.append(STARTS[facts["common_start"]])
    sentences.append("The training below is that of this run's own net.")
    return [" ".join(sentences)]


def _describe_member(member: JsonObject) -> str:
    settings = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in member["settings"].items())
    return f"{member['run']} ({settings})" if settings else str(member["run"])


def _describe_val(facts: JsonObject) -> str:
    images, (fewest, most) = format_count(facts["val"]["images"]), facts["val"]["members"]
    if fewest == len(facts["members"]):
        return f"None was trained on a test image, nor on one of the {images} of val."
    number = f"{fewest} to {most} nets" if fewest != most else "one net" if most == 1 else f"{most} nets"
    return (
        f"None was trained on a test image. Val here is the {images} images outside test, each predicted by the {number} that "
        "had not trained on it; thresholds are chosen there."
    )
