"""One image in memory, as a served model gets it."""

import numpy as np
import torch

from losslab.data.preparing.decode import Pixels
from losslab.data.preparing.fit import fitted_image
from losslab.predicting.label_map import Labels, labels_of_rows, restored_in_rows
from losslab.predictor import Predictor


def predict_image(predictor: Predictor, image: Pixels) -> Labels:
    """RGB uint8 `[H, W, 3]` of any size → labels uint8 `[H, W]`, as `losslab predict --scale trained` gives them."""
    height, width = image.shape[:2]
    fit = predictor.description["fit"]
    fitted = fitted_image(image, predictor.description["size"], fit)
    logits = predictor.logits(torch.from_numpy(np.ascontiguousarray(fitted))[None])
    labels = np.empty((height, width), np.uint8)
    for top, rows in restored_in_rows(logits, height, width, fit):
        labels[top : top + rows.shape[-2]] = labels_of_rows(rows)
    return labels
