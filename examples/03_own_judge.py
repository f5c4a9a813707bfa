"""A judge of your own: thickness guides, a function of yours that measures something else decides.

    python examples/03_own_judge.py runs/ink

On the command line:  unfeature mark runs/ink "much ink" --by thickness --judge examples/03_own_judge.py:much_ink
Expected output, after about 20 s on two cores:

    guided by simulated by thickness, judged by a callable
    original: 6.8 % with much ink
    filter: 0.0 % with much ink
    teacher: 0.2 % with much ink
    unlearned: 0.4 % with much ink
"""

import sys

from torch import Tensor

import unfeature as uf


def much_ink(images: Tensor) -> Tensor:
    """(n, c, h, w) in [0, 1] -> (n,) in [0, 1], yes from 0.5 on: over 19 % of the picture is ink."""
    return (images.mean(dim=(1, 2, 3)) > 0.19).float()


if __name__ == "__main__":
    run = sys.argv[1]
    uf.sample(run, "mnist-vae", uf.SampleOptions(count=1000))
    uf.mark(
        run,
        "much ink",
        by="thickness",
        judge=f"{__file__}:much_ink",
        options=uf.MarkOptions(per_side=80, wanted_ratio=0.01),
    )
    uf.find(run)
    uf.unlearn(run, uf.UnlearnOptions(steps=150))
    evaluation = uf.evaluate(run, uf.EvaluateOptions(count=500))
    print(f"guided by {evaluation.judge['guided_by']}, judged by a {evaluation.judge['kind']}")
    for row in evaluation.rows:
        print(f"{row.name}: {100 * row.scores['target_ratio'].value:.1f} % with much ink")
