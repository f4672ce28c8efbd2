"""Tell malignant from benign tumours with a support vector machine: what README and `make demo` run.

The measurements are real (569 breast masses, 30 features each) and come with scikit-learn: no download.
Run it as any script, or through the command: `cas-run run examples/svm.py:svm -p C=1.0 -p gamma=0.7`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import cas_run as ct

Table = tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]]  # features, one row a mass; labels, 1 is benign


@ct.electron
def load() -> Table:
    features, labels = load_breast_cancer(return_X_y=True)
    return features, labels


@ct.electron
def split(table: Table, held_out: float = 0.3) -> tuple[Table, Table]:
    features, labels = table
    parts = train_test_split(features, labels, test_size=held_out, random_state=0, stratify=labels)
    known_features, test_features, known_labels, test_labels = parts
    return (known_features, known_labels), (test_features, test_labels)


@ct.electron
def scale(known: Table, test: Table) -> tuple[Table, Table]:
    # Fitted on the known part alone: the test part must not leak into what is learnt.
    scaler = StandardScaler().fit(known[0])
    return (scaler.transform(known[0]), known[1]), (scaler.transform(test[0]), test[1])


@ct.electron
def train(known: Table, C: float, gamma: float) -> Any:
    # gamma in units of scikit-learn's own choice, 1 / number of features.
    features, labels = known
    return SVC(C=C, gamma=gamma / features.shape[1]).fit(features, labels)


@ct.electron
def compute_accuracy(model: Any, test: Table) -> float:
    features, labels = test
    return float(np.mean(model.predict(features) == labels))


@ct.electron(stochastic=True)
def bootstrap(model: Any, test: Table, rounds: int = 20_000) -> float:
    """How far the accuracy spreads over resamples of the test part. Another draw each time it runs."""
    features, labels = test
    right = model.predict(features) == labels
    rng = np.random.default_rng()
    shares = [rng.choice(right, size=len(right)).mean() for _ in range(rounds)]
    return float(np.std(shares))


@ct.lattice
def svm(C: float = 1.0, gamma: float = 0.7) -> dict[str, Any]:
    known, test = split(load())
    known, test = scale(known, test)
    model = train(known, C, gamma)
    return {"score": compute_accuracy(model, test), "spread": bootstrap(model, test)}


if __name__ == "__main__":
    result = ct.dispatch_sync(svm)(C=1.0, gamma=0.7)
    print(result.dispatch_id, result.status.value, result.result, f"ran {result.ran}, reused {result.hits}")
