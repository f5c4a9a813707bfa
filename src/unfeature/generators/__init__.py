"""Generator families. Adding one: a file with an `nn.Module`, latents (n, d) to images in [0, 1], and a line here."""

from __future__ import annotations

GENERATORS: dict[str, str] = {
    "conv-vae": "unfeature.generators.conv_vae:ConvDecoder",
    "dcgan": "unfeature.generators.dcgan:DCGAN",
    "mlp": "unfeature.generators.mlp:MLP",
    "conditional-mlp": "unfeature.generators.conditional_mlp:ConditionalMLP",
    "deconv": "unfeature.generators.deconv:Deconv",
    "hierarchical-vae": "unfeature.generators.hierarchical_vae:HierarchicalDecoder",
    "stylegan2": "unfeature.generators.stylegan2:StyleGAN2",
}
"""Family -> its module class; a card's or a checkpoint's `arguments` go to the constructor."""
