"""Other ways to judge a model than examples/svm.py has; put in place of its own with --replace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def compute_recall(model: Any, test: tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]]) -> float:
    """Of the masses that are malignant (label 0), the share that the model finds."""
    features, labels = test
    malignant = labels == 0
    return float(np.mean(model.predict(features[malignant]) == 0))
