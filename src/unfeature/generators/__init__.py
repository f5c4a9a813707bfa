"""Generator families. Adding one: a file with an `nn.Module`, latents (n, d) to images in [0, 1], and a line here."""

from __future__ import annotations

GENERATORS: dict[str, str] = {
    "conv-vae": "unfeature.generators.conv_vae:ConvDecoder",
    "dcgan": "unfeature.generators.dcgan:DCGAN",
}
"""Family -> its module class; a card's or a checkpoint's `arguments` go to the constructor."""
