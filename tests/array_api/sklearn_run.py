"""scikit-learn with array API dispatch, on mlcore's tensors and on NumPy's arrays; run by test_consumers in a process.

Prints how many estimators and functions were compared.
"""

from __future__ import annotations

import os

os.environ["SCIPY_ARRAY_API"] = "1"

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import metrics, set_config
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV
from sklearn.metrics import pairwise
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KernelCenterer,
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    StandardScaler,
)

import mlcore as ml

set_config(array_api_dispatch=True)
X, y = load_iris(return_X_y=True)
Xd, yd = load_diabetes(return_X_y=True)
rng = np.random.default_rng(0)
guess, chances = rng.permutation(y), rng.dirichlet(np.ones(3), len(y))
truth, score = (y == 1).astype(int), chances[:, 1]
u, v = (np.abs(rng.standard_normal((30, 2))) + 0.1 for _ in "uv")
compared = 0


def agree(found: Any, wanted: Any, name: str, tensor: bool = True) -> None:
    global compared
    if tensor:
        assert isinstance(found, ml.Tensor), f"{name} gave a {type(found).__name__}"
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=1e-5, atol=1e-8, err_msg=name)
    compared += 1


ESTIMATORS: list[tuple[Callable[[], Any], str, tuple[Any, ...]]] = [
    (LinearDiscriminantAnalysis, "predict predict_proba transform", (X, y)),
    (lambda: PCA(2, svd_solver="full"), "transform score_samples", (X,)),
    (lambda: PCA(2, svd_solver="covariance_eigh"), "transform", (X,)),
    (lambda: PCA(2, svd_solver="randomized", random_state=0, power_iteration_normalizer="QR"), "transform", (X,)),
    (lambda: PCA(3, svd_solver="full", whiten=True), "transform", (X,)),
    (lambda: Ridge(solver="svd"), "predict", (Xd, yd)),
    (RidgeCV, "predict", (Xd, yd)),
    (lambda: RidgeClassifier(solver="svd"), "predict decision_function", (X, y)),
    (RidgeClassifierCV, "predict", (X, y)),
    (GaussianNB, "predict predict_proba", (X, y)),
    (lambda: Nystroem(kernel="linear", n_components=5, random_state=0), "transform", (X,)),
    *[(one, "transform", (X,)) for one in (StandardScaler, MinMaxScaler, MaxAbsScaler, Normalizer, Binarizer)],
    (PolynomialFeatures, "transform", (X,)),
    (KernelCenterer, "transform", (X @ X.T,)),
    (LabelEncoder, "transform", (y,)),
    (lambda: make_pipeline(StandardScaler(), PCA(2, svd_solver="full"), GaussianNB()), "predict", (X, y)),
]  # fmt: skip
MACRO = {"average": "macro"}
METRICS: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    **dict.fromkeys(
        ("accuracy_score", "zero_one_loss", "confusion_matrix", "multilabel_confusion_matrix", "cohen_kappa_score",
         "balanced_accuracy_score", "hamming_loss"), ((y, guess), {})),
    **dict.fromkeys(("f1_score", "precision_score", "recall_score", "jaccard_score"), ((y, guess), MACRO)),
    "fbeta_score": ((y, guess), {**MACRO, "beta": 0.5}),
    **dict.fromkeys(
        ("mean_squared_error", "mean_absolute_error", "r2_score", "mean_squared_log_error", "root_mean_squared_error",
         "explained_variance_score", "mean_absolute_percentage_error", "median_absolute_error", "mean_pinball_loss"),
        ((u, v), {})),
    **dict.fromkeys(
        ("max_error", "mean_gamma_deviance", "mean_poisson_deviance", "mean_tweedie_deviance", "d2_tweedie_score"),
        ((u[:, 0], v[:, 0]), {})),
    **dict.fromkeys(("log_loss", "d2_log_loss_score"), ((y, chances), {})),
    **dict.fromkeys(("average_precision_score", "brier_score_loss"), ((truth, score), {})),
}  # fmt: skip
PAIRS = (
    "cosine_similarity cosine_distances euclidean_distances linear_kernel polynomial_kernel rbf_kernel sigmoid_kernel"
    " laplacian_kernel chi2_kernel additive_chi2_kernel paired_cosine_distances paired_euclidean_distances"
    " manhattan_distances"
)


def main() -> None:
    """Compare all of them."""
    tensor = ml.asarray
    for make, methods, data in ESTIMATORS:
        theirs, ours = make().fit(*data), make().fit(*map(tensor, data))
        for method in methods.split():
            agree(
                getattr(ours, method)(tensor(data[0])), getattr(theirs, method)(data[0]), f"{ours}.{method}"
            )
    for name, (data, more) in METRICS.items():
        function = getattr(metrics, name)
        agree(function(*map(tensor, data), **more), function(*data, **more), name, tensor=False)
    for name in PAIRS.split():
        function = getattr(pairwise, name)
        agree(function(tensor(u), tensor(v)), function(u, v), name)
    for found, wanted in zip(
        train_test_split(tensor(X), tensor(y), random_state=0),
        train_test_split(X, y, random_state=0),
        strict=True,
    ):
        agree(found, wanted, "train_test_split")
    model = LinearDiscriminantAnalysis()
    agree(
        cross_val_score(model, tensor(X), tensor(y)),
        cross_val_score(model, X, y),
        "cross_val_score",
        tensor=False,
    )
    search = GridSearchCV(Ridge(solver="svd"), {"alpha": [0.1, 1.0]})
    assert search.fit(tensor(Xd), tensor(yd)).best_params_ == search.fit(Xd, yd).best_params_
    print(f"{compared} results of scikit-learn compared")


if __name__ == "__main__":
    main()
