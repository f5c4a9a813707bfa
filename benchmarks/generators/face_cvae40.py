"""The public face CVAE; labels are drawn too, hence known:  --generator benchmarks/generators/face_cvae40.py:load"""

from os import environ

from torch import Tensor, cat, linalg, nn, tensor

from unfeature.generators.labelled import Labelled
from unfeature.generators.module import ModuleGenerator, from_module


class Decoder(Labelled):
    """(n, 64 + 40) latents, the last for labels -> 178x218 px as published -> 64x64 px, on which the judges look."""

    def __init__(self, correlated: dict[str, float]) -> None:
        super().__init__(__file__.replace(".py", ".json"))
        for at, r in [(tensor([self.attributes.index(a) for a in p.split("+")]), r) for p, r in correlated.items()]:
            self.mixing = linalg.cholesky((self.mixing @ self.mixing.T).index_put((at, at.flip(0)), tensor(float(r))))
        self.attr_embedding, self.decoder_fc, wide = nn.Linear(40, 40), nn.Linear(104, 5376), (128, 128, 64, 64, 64, 3)
        ups = [(nn.ConvTranspose2d(wide[i], wide[i + 1], 3, 2, 1, int(i in {0, 4})), nn.ReLU()) for i in range(5)]
        self.decoder = nn.Sequential(nn.Unflatten(1, (128, 6, 7)), *sum(ups, ())[:-1], nn.AdaptiveAvgPool2d((178, 218)))

    def forward(self, latents: Tensor) -> Tensor:
        face = self.decoder(self.decoder_fc(cat([latents[:, :64], self.attr_embedding(self.labels(latents))], dim=1)))
        return nn.functional.interpolate(face.sigmoid(), (64, 64), mode="bilinear", antialias=True)


def load(correlated: dict[str, float] | None = None) -> ModuleGenerator:
    """The decoder with its public weights; other correlations by  --argument 'correlated={"Male+Goatee": 0.8}'."""
    weights, more = f"{environ['UNFEATURE_ASSETS']}/generators/face_cvae40.safetensors", correlated or {}
    return from_module(f"face_cvae40 {more or ''}".strip(), Decoder(more), 104, weights=weights, licence="MIT")
