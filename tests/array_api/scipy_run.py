"""SciPy's functions that dispatch, on mlcore's tensors and on NumPy's arrays; run by test_consumers in a process.

SciPy looks at SCIPY_ARRAY_API when it is imported, so the process is fresh. Prints how many functions were compared.
"""

from __future__ import annotations

import os

os.environ["SCIPY_ARRAY_API"] = "1"

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.cluster.hierarchy as hierarchy
import scipy.cluster.vq as vq
import scipy.fft as fft
import scipy.integrate as integrate
import scipy.ndimage as ndimage
import scipy.optimize as optimize
import scipy.signal as signal
import scipy.spatial.transform as transform
import scipy.special as special
import scipy.stats as stats

import mlcore as ml

rng = np.random.default_rng(0)
x, y, m = rng.standard_normal(50), rng.standard_normal(50), rng.standard_normal((6, 8))
p = np.abs(rng.standard_normal(20)) + 0.1
small, some = np.abs(x) * 0.4 + 0.05, np.abs(x) + 0.1

Call = tuple[Callable[..., Any], tuple[Any, ...]]


def each(space: Any, names: str, *args: Any) -> dict[str, Call]:
    """Functions of one module that take the same arguments."""
    return {
        f"{space.__name__.partition('.')[2]}.{name}": (getattr(space, name), args) for name in names.split()
    }


CALLS: dict[str, Call] = {
    **each(special, "erf erfc gammaln expit logit log_ndtr ndtr ndtri i0 i0e i1 i1e entr digamma gamma psi", small),
    **each(special, "logsumexp softmax log_softmax", m),
    **each(special, "xlogy rel_entr betaln gammainc gammaincc kl_div stdtrit zeta", p, p + 1),
    **each(fft, "fft ifft rfft fft2 fftn rfftn hfft dct dst fftshift", m),
    **each(stats, "ttest_ind ttest_rel pearsonr mannwhitneyu bartlett f_oneway levene wilcoxon", x, y),
    **each(stats, "skew kurtosis variation sem zscore gmean hmean describe normaltest jarque_bera skewtest", some),
    **each(stats, "kurtosistest iqr entropy rankdata circmean circvar circstd gzscore tmean tvar tstd tmin", some),
    **each(stats, "tmax differential_entropy lmoment gstd median_abs_deviation power_divergence chisquare", some),
    "stats.moment": (lambda a: stats.moment(a, 3), (x,)),
    "stats.pmean": (lambda a: stats.pmean(a, 2), (some,)),
    "stats.trim_mean": (lambda a: stats.trim_mean(a, 0.1), (x,)),
    "stats.quantile": (lambda a: stats.quantile(a, 0.3), (x,)),
    "stats.kstat": (lambda a: stats.kstat(a, 2), (x,)),
    "stats.ttest_1samp": (lambda a: stats.ttest_1samp(a, 0.0), (x,)),
    "stats.combine_pvalues": (stats.combine_pvalues, (small,)),
    **each(signal, "detrend hilbert medfilt envelope wiener", x),
    **each(signal, "convolve fftconvolve oaconvolve correlate", x, y),
    "signal.lfilter": (signal.lfilter, (np.asarray([1.0, 0.5]), np.asarray([1.0, 0.2]), x)),
    "signal.resample": (lambda a: signal.resample(a, 20), (x,)),
    "signal.savgol_filter": (lambda a: signal.savgol_filter(a, 5, 2), (x,)),
    "cluster.vq.whiten": (vq.whiten, (m,)),
    "cluster.vq.vq": (vq.vq, (m, m[:2])),
    "cluster.vq.kmeans": (lambda a: vq.kmeans(a, 2, rng=0), (m,)),
    "cluster.vq.kmeans2": (lambda a: vq.kmeans2(a, 2, rng=0, minit="points"), (m,)),
    "cluster.hierarchy.linkage": (hierarchy.linkage, (m,)),
    **each(integrate, "trapezoid cumulative_trapezoid", m),
    **each(ndimage, "sobel sum", m),
    "ndimage.gaussian_filter": (lambda a: ndimage.gaussian_filter(a, 1.0), (m,)),
    "ndimage.zoom": (lambda a: ndimage.zoom(a, 2), (m,)),
    "ndimage.label": (lambda a: ndimage.label(a > 0)[0], (m,)),
    "optimize.rosen": (optimize.rosen, (x,)),
    "spatial.transform.Rotation": (
        lambda a: transform.Rotation.from_rotvec(a).as_matrix(), (rng.standard_normal((4, 3)),)
    ),
}  # fmt: skip


def parts(found: Any) -> Iterator[Any]:
    """The arrays of a result: a tuple's, or those of a test's statistic and p-value."""
    if hasattr(found, "statistic"):
        yield from (found.statistic, found.pvalue)
    elif isinstance(found, tuple | list):
        for one in found:
            yield from parts(one)
    elif not isinstance(found, int):
        yield found


def main() -> None:
    """Compare all of them."""
    elements = 0
    for name, (function, args) in CALLS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SciPy's own, about small samples
            wanted = list(parts(function(*args)))
            found = list(parts(function(*[ml.asarray(one) for one in args])))
        assert len(found) == len(wanted), name
        for a, b in zip(found, wanted, strict=True):
            assert isinstance(a, ml.Tensor), f"{name} gave a {type(a).__name__}"
            np.testing.assert_allclose(np.asarray(a), b, rtol=1e-10, atol=1e-10, err_msg=name)
            elements += a.size
    print(f"{len(CALLS)} functions of SciPy, {elements} elements compared")


if __name__ == "__main__":
    main()
