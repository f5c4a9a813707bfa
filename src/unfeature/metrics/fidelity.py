"""IS, FD and KID through torchmetrics, over features that are already computed.

Named by their protocol: `fd10k_mnist-gradients` is a Frechet distance on 10,000 images in that extractor's features. It
is never called FID, which is the same in Inception's features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore as _InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from unfeature.artifacts import Score
from unfeature.intervals import Z95, student
from unfeature.metrics.samples import Samples, check_rows, count_name
from unfeature.protocols import Paired, Reference

SPLITS = 10
"""Of the inception score, as Salimans et al. 2016 have it."""
BLOCKS = 10
"""Of the jackknife behind the Frechet distance's interval."""
SUBSETS, SUBSET_SIZE = 100, 1000
"""Of the kernel distance, as Binkowski et al. 2018 have it."""


class _Features(nn.Module):
    """Stands where torchmetrics expects a network: hands on features that are already computed."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.num_features = k

    def forward(self, features: Tensor) -> Tensor:
        """(n, k) -> (n, k)."""
        return features


@contextmanager
def _reproducible() -> Iterator[None]:
    """torchmetrics shuffles with the global CPU generator and warns of its buffers: neither is felt outside."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.default_generator.manual_seed(0)
        warnings.filterwarnings("ignore", ".*will save all extracted features in buffer", UserWarning)
        yield


class InceptionScore:
    """IS (Salimans et al. 2016): exp of the mean KL divergence between an image's classes and all images'."""

    paired = False

    def __init__(self, reference: Reference) -> None:
        self.extractor = reference.extractor
        self.samples = Samples("the inception score")

    def update(self, batch: Paired) -> None:
        """Keep the batch's logits."""
        self.samples.add(batch.after.logits)

    def compute(self) -> list[Score]:
        """One score in [1, classes]; the interval is Student's of the mean over the splits."""
        logits = self.samples.ordered()
        n = len(logits)
        splits = max(2, min(SPLITS, n // 100))
        # A class whose probability underflows to 0 in a whole split would make 0 * log 0.
        logits = (logits - logits.amax(dim=1, keepdim=True)).clamp_min(-200.0)
        with _reproducible():
            metric = _InceptionScore(feature=_Features(logits.shape[1]), splits=splits)
            metric.update(logits)
            mean, deviation = (float(v) for v in metric.compute())
        half = student(deviation / math.sqrt(splits), splits)
        return [
            Score(
                f"is{count_name(n)}_{self.extractor}",
                mean,
                max(1.0, mean - half),
                min(float(logits.shape[1]), mean + half),
                n,
                higher_is_better=True,
                note=f"mean of {splits} splits; interval from the spread between them",
            )
        ]


class FrechetDistance:
    """FD (Heusel et al. 2017) to the feature-free and to all samples of the original."""

    paired = False

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.samples = Samples("the Frechet distance")

    def update(self, batch: Paired) -> None:
        """Keep the batch's embeddings."""
        self.samples.add(batch.after.embedding)

    def compute(self) -> list[Score]:
        """`fdN_EXTRACTOR` and `fdN_EXTRACTOR_to_all`, each >= 0; the interval is a delete-one-block jackknife's."""
        rows = self.samples.ordered()
        name = f"fd{count_name(len(rows))}_{self.reference.extractor}"
        return [
            _frechet_score(name, rows, self.reference.free, "feature-free samples"),
            _frechet_score(f"{name}_to_all", rows, self.reference.all, "samples"),
        ]


def _frechet_score(name: str, rows: Tensor, reference: Tensor, what: str) -> Score:
    reference = reference.detach().cpu().double()
    check_rows(f"the Frechet distance's reference ({what} of the original)", reference, least=2)
    value = _frechet(rows, reference)
    variance = _jackknife(rows, reference) + _jackknife(reference, rows)
    half = Z95 * math.sqrt(variance)
    note = f"to {len(reference)} {what} of the original; "
    few = min(len(rows), len(reference)) < 2 * BLOCKS
    note += "too few images for an interval" if few else f"interval by a jackknife over {BLOCKS} blocks of both"
    return Score(name, value, max(0.0, value - half), value + half, len(rows), higher_is_better=False, note=note)


def _frechet(rows: Tensor, reference: Tensor) -> float:
    """(n, k), (m, k) -> |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)); rounding under 0 is 0."""
    metric = FrechetInceptionDistance(feature=_Features(rows.shape[1]))
    metric.update(reference, real=True)
    metric.update(rows, real=False)
    return max(0.0, float(metric.compute()))


def _jackknife(varied: Tensor, fixed: Tensor) -> float:
    """Variance of the distance from leaving out each block of `varied` in turn; 0 where the blocks are too small."""
    if min(len(varied), len(fixed)) < 2 * BLOCKS:
        return 0.0
    blocks = varied.tensor_split(BLOCKS)
    values = [_frechet(torch.cat(blocks[:i] + blocks[i + 1 :]), fixed) for i in range(BLOCKS)]
    mean = math.fsum(values) / BLOCKS
    return (BLOCKS - 1) / BLOCKS * math.fsum((v - mean) ** 2 for v in values)


class KernelDistance:
    """KID (Binkowski et al. 2018): unbiased squared MMD with the cubic kernel, so 0 is expected of equal sources."""

    paired = False

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.samples = Samples("the kernel distance", least=4)

    def update(self, batch: Paired) -> None:
        """Keep the batch's embeddings."""
        self.samples.add(batch.after.embedding)

    def compute(self) -> list[Score]:
        """`kidN_EXTRACTOR` and `kidN_EXTRACTOR_to_all`; may fall below 0, being unbiased."""
        rows = self.samples.ordered()
        name = f"kid{count_name(len(rows))}_{self.reference.extractor}"
        return [
            _kernel_score(name, rows, self.reference.free, "feature-free samples"),
            _kernel_score(f"{name}_to_all", rows, self.reference.all, "samples"),
        ]


def _kernel_score(name: str, rows: Tensor, reference: Tensor, what: str) -> Score:
    """Mean over random subsets. They overlap, so their spread over sqrt(subsets) would be far too narrow an interval.

    The mean over many subsets of m out of n nears the estimate on all n, whose variance is at most about m/n that of
    one subset (a U-statistic's falls with 1/n, or faster where the sources are equal). Subsets of the same n images
    spread less than independent ones would, by the part 1 - m/n (sampling without replacement).
    """
    reference = reference.detach().cpu().double()
    check_rows(f"the kernel distance's reference ({what} of the original)", reference, least=4)
    fewest = min(len(rows), len(reference))
    size = min(SUBSET_SIZE, fewest // 2)
    with _reproducible():
        metric = KernelInceptionDistance(feature=_Features(rows.shape[1]), subsets=SUBSETS, subset_size=size)
        metric.update(reference.float(), real=True)  # float32 moves the score by 1e-7 and takes half the time
        metric.update(rows.float(), real=False)
        value, deviation = (float(v) for v in metric.compute())
    half = Z95 * deviation * math.sqrt(size / (fewest - size) + 1.0 / SUBSETS)
    note = (
        f"to {len(reference)} {what} of the original; mean of {SUBSETS} overlapping subsets of {size}; "
        f"interval: spread of one subset, scaled to {fewest} images"
    )
    return Score(name, value, value - half, value + half, len(rows), higher_is_better=False, note=note)
