"""The whole job in ten lines, with small counts: thick strokes out of the shipped VAE.

    python examples/01_thickness.py runs/ten-lines

Expected output, after about 20 s on two cores (the paper's counts are the defaults: leave the options out):

    marks: 80 with it, 80 without
    teacher rewrites 50.6 % of the latents
    original: 9.2 % show it
    filter: 0.0 % show it
    teacher: 0.8 % show it
    unlearned: 0.6 % show it
    report: report.html
"""

import sys

import unfeature as uf

if __name__ == "__main__":
    run = sys.argv[1]
    gallery = uf.sample(run, "mnist-vae", uf.SampleOptions(count=1000))
    feedback = uf.mark(run, "thick strokes", by="thickness", options=uf.MarkOptions(per_side=80))
    feature = uf.find(run, uf.FindOptions(margin=0.25))
    teacher = uf.preview(run, uf.PreviewOptions(count=500))[0]
    uf.unlearn(run, uf.UnlearnOptions(steps=150))
    evaluation = uf.evaluate(run, uf.EvaluateOptions(count=500))
    page = uf.report(run)[0]

    print(f"marks: {len(feedback.positives)} with it, {len(feedback.negatives)} without")
    print(f"teacher rewrites {100 * teacher.rewritten.value:.1f} % of the latents")
    for row in evaluation.rows:
        print(f"{row.name}: {100 * row.scores['target_ratio'].value:.1f} % show it")
    print(f"report: {page.name}")
