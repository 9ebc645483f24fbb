"""mlcore's tensors in other people's code: scikit-learn, SciPy, einops and opt_einsum.

    python examples/other_libraries.py

scikit-learn and SciPy take arrays of the Array API standard where this variable is set before they are imported.
"""

import os

os.environ["SCIPY_ARRAY_API"] = "1"

import einops
import opt_einsum
import scipy.special
import scipy.stats
from sklearn import set_config
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import train_test_split

import mlcore as ml

set_config(array_api_dispatch=True)

# scikit-learn fits and predicts on tensors: data in, tensors out.
features, labels = load_iris(return_X_y=True)
x, y = ml.asarray(features), ml.asarray(labels)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)
model = LinearDiscriminantAnalysis().fit(x_train, y_train)
predicted = model.predict(x_test)
accuracy = ml.mean(ml.astype(predicted == y_test, ml.float32)).item()
print(f"LinearDiscriminantAnalysis: {type(predicted).__name__}, {accuracy:.0%} of {y_test.size} flowers")

reduced = PCA(2, svd_solver="full").fit_transform(x)
print(f"PCA: {x.shape} to {reduced.shape}, on {reduced.device}")

# SciPy: tests, special functions; what is made of tensors only is differentiable, such as logsumexp.
setosa, other = x[y == 0][:, 0], x[y == 1][:, 0]
answer = scipy.stats.ttest_ind(setosa, other)
print(f"t test of the sepal lengths: {answer.statistic.item():.2f}, p = {answer.pvalue.item():.1e}")
scores = ml.asarray([1.0, 2.0, 3.0], requires_grad=True)
scipy.special.logsumexp(scores).backward()
print("the gradient of SciPy's logsumexp is softmax:", [round(g, 3) for g in scores.grad.tolist()])

# einops: nothing to register.
images = ml.ones((8, 3, 32, 32), requires_grad=True)
patches = einops.rearrange(images, "b c (h p) (w q) -> b (h w) (p q c)", p=8, q=8)
means = einops.reduce(images, "b c h w -> b c", "mean")
means.sum().backward()
print(f"einops: {images.shape} to {patches.shape} and {means.shape}")
print(f"        each pixel counts {images.grad[0, 0, 0, 0].item():.6f}")

# opt_einsum finds the cheap order of a long product, mlcore computes it.
a, b, c = ml.ones((32, 4)), ml.ones((4, 64)), ml.ones((64, 2))
product = opt_einsum.contract("ij,jk,kl->il", a, b, c)
print(f"opt_einsum: {product.shape}, {product[0, 0].item():.0f}")

assert accuracy > 0.9
assert patches.shape == (8, 16, 192)
assert product[0, 0].item() == 256
