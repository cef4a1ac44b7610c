"""Page of a survey, one file readable offline: the most doubtful masks beside their images and what the nets say."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from losslab.formats import format_percent, format_plural, format_score
from losslab.reporting.components.pictures import encode_labels, encode_mask, encode_photo
from losslab.reporting.components.rendering import render_template
from losslab.reporting.run.sections.gallery import ERROR_COLOUR, VOID_COLOUR, GalleryExample, find_errors
from losslab.suspects.survey import Survey, SuspectImage, explain_image

MIN_SHOWN, MAX_SHOWN, SIDE_PX = 12, 60, 384
"""Images in the gallery, as many as stand out within these limits; the longer side of their pictures at most."""
MAX_ROWS = 500
"""Images in the table; images.csv has all."""


def build_survey_page(survey: Survey, masks: Mapping[str, Path], remedy: Sequence[str]) -> str:
    """Build the page; `masks` and `remedy` are as in `write_survey`."""
    ranked = [image for image in survey.images if not np.isnan(image.scores.doubt)]
    count = min(max(survey.number_standing_out, MIN_SHOWN), MAX_SHOWN)
    reasons = [explain_image(image, survey.classes) for image in ranked]
    rows = [
        (
            image,
            f"{format_percent(image.scores.doubt)} %",
            format_score(image.scores.softmin),
            format_score(image.scores.dice),
            why,
            masks.get(image.name),
        )
        for image, why in zip(ranked[:MAX_ROWS], reasons, strict=False)
    ]
    pictures = [build_example(survey, image, rank) for rank, image in enumerate(ranked[:count], start=1)]
    return render_template(
        "suspects/index.html.j2",
        survey=survey,
        headline=describe_survey(survey),
        gallery=list(zip(pictures, reasons, strict=False)),
        rows=rows,
        remedy=remedy,
        folds=[(fold.number, fold.run, len(fold.rows), format_score(fold.miou)) for fold in survey.folds],
        legend=list(zip(survey.classes, survey.palette, strict=True)),
        void_label=survey.folds[0].description["ignore_index"],
        void_colour=VOID_COLOUR,
        error_colour=ERROR_COLOUR,
    )


def describe_survey(survey: Survey) -> str:
    """Say in a sentence how many masks stand out."""
    count = len(survey.images)
    if not survey.number_standing_out:
        return f"No mask of {format_plural(count, 'image')} stands out from the others."
    verb = "stands" if survey.number_standing_out == 1 else "stand"
    return f"{survey.number_standing_out} of {format_plural(count, 'mask')} {verb} out: nets that never saw them contradict them."


def build_example(survey: Survey, image: SuspectImage, rank: int) -> GalleryExample:
    """Build the pictures of an image: photo, mask, prediction, and where these two differ."""
    checked, photo = image.fold.check(image.index), Image.fromarray(image.fold.draw(image.index))
    scale = min(1.0, SIDE_PX / max(photo.size))
    size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
    given, predicted = (
        np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        for labels in (checked.given, checked.predicted)
    )
    differing: npt.NDArray[np.bool_] = find_errors(given, predicted, survey.folds[0].description["ignore_index"])
    return GalleryExample(
        name=image.name,
        score=f"{rank}. doubt {format_percent(image.scores.doubt)} %, Dice {format_score(image.scores.dice)}",
        width=size[0],
        height=size[1],
        image=encode_photo(photo.resize(size, Image.Resampling.LANCZOS)),
        truth=encode_labels(given, survey.palette, VOID_COLOUR),
        prediction=encode_labels(predicted, survey.palette, VOID_COLOUR),
        errors=encode_mask(differing, ERROR_COLOUR),
    )
