"""Families of timm at their smallest, with random weights: nothing is downloaded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 3


@dataclass(frozen=True)
class Family:
    """A family of networks at its smallest.

    Attributes:
        name: Name of a network that timm makes; or module and class, where the network that timm makes cannot be small.
        settings: Settings that make it small.
        side: Height and width of an image in pixels.
        tolerance: Largest relative difference of K from the oracle's.
        products: Pattern of owners of weights that are left out although they multiply samples.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    side: int = 32
    tolerance: float = 1e-10
    products: str = ""

    def build(self) -> nn.Module:
        """Make the network with random weights."""
        import timm

        settings = {"num_classes": CLASSES, **self.settings}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            if "." not in self.name:
                return timm.create_model(self.name, pretrained=False, **settings)
            path, _, name = self.name.partition(".")
            module = import_module(f"timm.models.{path}")
            if "cfg" in settings:
                settings["cfg"] = module.MultiScaleVitCfg(**settings["cfg"])
            for key in ("block_layer", "mlp_layer", "norm_layer"):
                if key in settings:
                    settings[key] = getattr(module, settings[key])
            return getattr(module, name)(**settings)  # type: ignore[no-any-return]

    def inputs(self, n: int, seed: int) -> Tensor:
        """Draw images."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(n, 3, self.side, self.side, generator=generator, dtype=torch.float64)


TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}
PATCHES = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "num_blocks": 2}
STAGES = {"depths": (1, 1, 1, 1), "dims": (4, 8, 8, 8)}
RESIDUAL = {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)}
WINDOWS = {"img_size": 32, "embed_dim": 8, "depths": (1, 2), "num_heads": (1, 2), "window_size": 4}
FAMILIES = [
    # Convolutions.
    Family("resnet18", {**RESIDUAL, "channels": (8, 8, 16, 16)}),
    Family("resnet50", {**RESIDUAL, "channels": (4, 4, 8, 8), "stem_width": 4}),
    Family("resnext50_32x4d", {**RESIDUAL, "cardinality": 4, "base_width": 16}),
    Family("seresnet18", {**RESIDUAL, "channels": (16, 16, 32, 32)}),
    Family("resnetv2_50", {"layers": (1, 1), "channels": (16, 32), "stem_chs": 8}),
    Family("res2net50_26w_4s", {**RESIDUAL, "stem_width": 8}),
    Family("resnest14d", {**RESIDUAL, "stem_width": 4}),
    Family("skresnet18", {**RESIDUAL, "channels": (16, 16, 16, 16), "stem_width": 8}),
    Family("mobilenetv3_small_050"),
    Family("test_efficientnet"),
    Family("test_byobnet"),
    Family("test_nfnet"),
    Family("test_mambaout"),
    Family("convnext_atto", STAGES),
    Family("convnextv2_atto", STAGES),
    Family("inception_next_atto", STAGES),
    Family("densenet.DenseNet", {"growth_rate": 4, "block_config": (2, 2), "bn_size": 2}),
    # Attention.
    Family("vit_tiny_patch16_224", TINY),
    Family("test_vit2"),
    Family("vit_relpos_small_patch16_224", TINY),
    Family("deit3_small_patch16_224", TINY),
    Family("beit_base_patch16_224", TINY),
    Family("eva02_tiny_patch14_224", {**TINY, "embed_dim": 24}),
    Family("cait_xxs24_224", TINY),
    Family("xcit_nano_12_p16_224", TINY),
    Family("swin_tiny_patch4_window7_224", WINDOWS),
    Family("swinv2_tiny_window8_256", WINDOWS),
    Family("levit_128s", {"embed_dim": (16, 16), "depth": (1, 1), "num_heads": (2, 2), "key_dim": 4, "img_size": 32}),
    Family(
        "coat_lite_tiny",
        {
            "img_size": 32,
            "embed_dims": (8, 8, 16, 16),
            "serial_depths": (1, 1, 1, 1),
            "num_heads": 2,
            "crpe_window": {3: 2},
        },
    ),
    Family(
        "iformer.IFormer",
        {
            "dims": (8, 8, 16, 16),
            "depths": (1, 1, 3, 3),
            "attn_groups": (0, 0, 1, 1),
            "attn_head_dim_reduction": (0, 0, 2, 2),
        },
        side=64,
    ),
    Family("test_coatnet", {"img_size": 64}, side=64),
    Family(
        "pvt_v2_b0",
        {"depths": (1, 1), "embed_dims": (8, 16), "num_heads": (1, 2), "sr_ratios": (2, 1), "mlp_ratios": (2, 2)},
    ),
    Family(
        "pit_ti_224",
        {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (8, 8), "depth": (1, 1), "heads": (1, 2)},
    ),
    Family(
        "twins_svt_small",
        {
            "img_size": 64,
            "embed_dims": (8, 16),
            "depths": (2, 2),
            "num_heads": (1, 2),
            "mlp_ratios": (2, 2),
            "sr_ratios": (2, 1),
            "wss": (2, 2),
        },
        side=64,
    ),
    Family("edgenext_xx_small", {"dims": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "heads": (2, 2, 2, 2)}, side=64),
    Family("davit_tiny", {"depths": (1, 1), "embed_dims": (8, 16), "num_heads": (1, 2)}),
    Family(
        "hiera_tiny_224", {"img_size": (64, 64), "embed_dim": 8, "num_heads": 1, "stages": (1, 1), "q_pool": 1}, side=64
    ),
    Family(
        "mvitv2.MultiScaleVit",
        {"img_size": 32, "cfg": {"depths": (1, 1), "embed_dim": 8, "stride_q": ((1, 1), (2, 2))}},
    ),
    # Layers over positions.
    Family("mlp_mixer.MlpMixer", PATCHES),
    Family("mlp_mixer.MlpMixer", {**PATCHES, "block_layer": "ResBlock", "mlp_ratio": 4, "norm_layer": "Affine"}),
    Family(
        "mlp_mixer.MlpMixer", {**PATCHES, "block_layer": "SpatialGatingBlock", "mlp_layer": "GatedMlp", "mlp_ratio": 2}
    ),
]
MIXED = Family(
    "csatv2.CSATv2", {"dims": (8, 8, 16, 16), "depths": (1, 1, 2, 2), "transformer_depths": (0, 0, 1, 1)}, side=64
)
