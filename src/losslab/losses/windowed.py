"""Losses that compare the structure of small windows."""

import torch
from torch import Tensor

from losslab.losses.base import Batch, Loss, cross_entropy, masked_mean


class Ssim(Loss):
    """`1 - SSIM` of probability and truth maps, averaged over valid pixels and classes, in 0..2.

    From Wang et al. 2004, doi 10.1109/TIP.2003.819861; as a loss: BASNet, Qin et al. 2019. Gaussian windows of `window`
    × `window` pixels, σ = `sigma`; C₁ = 0.01², C₂ = 0.03², the range of the data being 1. Windows that reach over the
    image's edge or void pixels count what lies inside (most codes pad with zeros, which invents a border); away from
    them it is torchmetrics' SSIM. No power of a possibly negative number is taken, so nothing is NaN. Flat and
    confident errors have almost no gradient, on an empty mask too: it goes with a pixel-wise loss,
    `cross_entropy+ssim`.

    Slower than cross entropy: four local means, forth and back.

    Example:
        >>> logits, target = torch.tensor([[[[9.0, -9.0]]]]), torch.tensor([[[0, 1]]])
        >>> round(Ssim(1, None, window=3, sigma=1.5)(logits, target).item(), 3)  # the opposite of the truth
        1.972
    """

    def __init__(self, num_classes: int, ignore_index: int | None, *, window: int, sigma: float) -> None:
        super().__init__(num_classes, ignore_index)
        self.register_buffer("kernel", gaussian(window, sigma), persistent=False)

    kernel: Tensor

    def compute(self, batch: Batch) -> Tensor:
        mean = LocalMean(self.kernel, batch.valid, batch.logits.dtype)
        ssim = ssim_map(batch.probabilities(), batch.one_hot(), mean)
        return masked_mean(1 - ssim, batch.valid.unsqueeze(1).expand_as(ssim))


class Correlation(Loss):
    """Correlation-maximised structural similarity: `Σ e f CE / Σ f`, 0 or more (Zhao et al. 2019, 1910.08711).

    `e = |(y - μ_y + c)/(σ_y + c) - (p - μ_p + c)/(σ_p + c)|` with μ, σ of a Gaussian window around each pixel, for each
    class; f = 1 where e > `beta` times the image's largest e. CE is the pixel's cross entropy, so structure decides
    where it counts. The gradient goes through e and CE, not through f. There is no official code: the window (3 × 3, σ
    1.5) and the use of softmax cross entropy for several classes are ours.

    Where truth and prediction are both flat e is 0 and nothing counts: a flat false positive on an empty mask costs
    nothing. It goes with what the paper adds it to: `cross_entropy+correlation`. σ is kept above 0.001, where its root
    has a bounded gradient and float32 cancellation does not show; e below 1e-4 is rounding and never counts.

    Slower than cross entropy: it needs local means and deviations of every class.

    Example:
        >>> logits, target = torch.tensor([[[[1.0, -1.0]]]]), torch.tensor([[[1, 0]]])
        >>> round(Correlation(1, None, window=3, sigma=1.5, beta=0.1, c=0.01)(logits, target).item(), 4)
        0.0131
    """

    def __init__(
        self, num_classes: int, ignore_index: int | None, *, window: int, sigma: float, beta: float, c: float
    ) -> None:
        super().__init__(num_classes, ignore_index)
        self.beta, self.c = beta, c
        self.register_buffer("kernel", gaussian(window, sigma), persistent=False)

    kernel: Tensor

    def compute(self, batch: Batch) -> Tensor:
        mean = LocalMean(self.kernel, batch.valid, batch.logits.dtype)
        e = (self._normalise(batch.one_hot(), mean) - self._normalise(batch.probabilities(), mean)).abs()
        e = e * batch.valid.unsqueeze(1)
        largest = e.detach().amax((1, 2, 3), keepdim=True)
        hard = e.detach() > (self.beta * largest).clamp(min=1e-4)
        return masked_mean(e * cross_entropy(batch).unsqueeze(1), hard)

    def _normalise(self, x: Tensor, mean: "LocalMean") -> Tensor:
        centre = mean(x)
        deviation = (mean(x * x) - centre**2).clamp(min=1e-6).sqrt()
        return (x - centre + self.c) / (deviation + self.c)


def ssim_map(p: Tensor, y: Tensor, mean: "LocalMean") -> Tensor:
    """Compute SSIM around each pixel, `[N, C, H, W]` in -1..1, of p in 0..1 and y of 0 and 1.

    >>> y, valid = torch.tensor([[[[0.0, 1.0]]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    >>> ssim_map(y, y, LocalMean(gaussian(3, 1.5), valid, torch.float32))
    tensor([[[[1., 1.]]]])
    """
    mean_p, mean_y = mean(p), mean(y)
    var_p, var_y = (mean(p * p) - mean_p**2).clamp(min=0), (mean_y - mean_y**2).clamp(min=0)  # y² = y
    covariance = mean(p * y) - mean_p * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_p * mean_y + c1) * (2 * covariance + c2)
    return similarity / ((mean_p**2 + mean_y**2 + c1) * (var_p + var_y + c2))


class LocalMean:
    """Gaussian means of `[N, C, H, W]` over the valid pixels of the window around each pixel; x is 0 at void pixels.

    Each direction is a product with a banded matrix: the image's edge needs no padding, the sums are deterministic, and
    on a CPU it is ten times as fast as a convolution of one channel.

    >>> mean = LocalMean(gaussian(3, 1e6), torch.ones(1, 1, 3, dtype=torch.bool), torch.float32)
    >>> mean(torch.tensor([[[[0.0, 3.0, 6.0]]]]))
    tensor([[[[1.5000, 3.0000, 4.5000]]]])
    """

    def __init__(self, kernel: Tensor, valid: Tensor, dtype: torch.dtype) -> None:
        self.down, self.across = (_build_band(kernel, length).to(dtype) for length in valid.shape[1:])
        self.total = self._blur(valid.unsqueeze(1).to(dtype)).clamp(min=torch.finfo(dtype).tiny)

    def __call__(self, x: Tensor) -> Tensor:
        return self._blur(x) / self.total

    def _blur(self, x: Tensor) -> Tensor:
        return self.down @ x @ self.across


def gaussian(window: int, sigma: float) -> Tensor:
    """Return the weights of a Gaussian window, float64 `[window]`, adding up to 1.

    >>> gaussian(3, 1.0).round(decimals=3).tolist()
    [0.274, 0.452, 0.274]
    """
    offsets = torch.arange(window, dtype=torch.float64) - window // 2
    weights = (-0.5 * (offsets / sigma) ** 2).exp()
    return weights / weights.sum()


def _build_band(kernel: Tensor, length: int) -> Tensor:
    """Return a symmetric `[length, length]` with the kernel around the diagonal."""
    index = torch.arange(length, device=kernel.device)
    offset = (index - index.unsqueeze(1)).abs()
    half = len(kernel) // 2
    return kernel[half + offset.clamp(max=half)].masked_fill(offset > half, 0)
