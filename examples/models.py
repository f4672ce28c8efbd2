"""Other models than the one of examples/svm.py; put in place of its `train` with --replace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier


def train_forest(
    known: tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]],
    C: float = 1.0,
    gamma: float = 1.0,
    *,
    trees: int = 300,
) -> Any:
    """A random forest in the place of the SVM: the call `train(known, C, gamma)` binds here too.

    A forest has no C and no gamma; they stand in the signature because the recorded call passes them.
    """
    del C, gamma
    return RandomForestClassifier(n_estimators=trees, random_state=0).fit(*known)
