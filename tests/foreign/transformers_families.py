"""Families of transformers at their smallest, with random weights: nothing is downloaded."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY = 20


@dataclass(frozen=True)
class Family:
    """A family of networks at its smallest.

    Attributes:
        name: Name of its configuration class, without ``Config``.
        model: Class of the model.
        settings: Settings of the configuration.
        forward: (model, samples) -> outputs (n, C), C small.
        shape: Shape of one sample; None for six tokens.
        tolerance: Largest relative difference of K from the oracle's: rounding of float64, or of float32 for a network
            that computes in float32 whatever the type of its weights.
        products: Pattern of owners of weights that are left out although they multiply samples.
    """

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    forward: Callable[[Any, Tensor], Tensor] | None = None
    shape: tuple[int, ...] | None = None
    tolerance: float = 1e-10
    products: str = ""

    def build(self, experts_implementation: str = "eager") -> nn.Module:
        """Make the network with random weights; experts run one by one, because float64 has no grouped product."""
        import transformers

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            known = {
                "experts_implementation": experts_implementation,
                "bos_token_id": 0,
                "eos_token_id": 1,
                "pad_token_id": 0,
            }
            config = getattr(transformers, f"{self.name}Config")(**{**known, **self.settings})
            return getattr(transformers, self.model)(config)  # type: ignore[no-any-return]

    def inputs(self, n: int, seed: int) -> Tensor:
        """Draw samples."""
        generator = torch.Generator().manual_seed(seed)
        if self.shape is None:
            return torch.randint(2, VOCABULARY, (n, 6), generator=generator)
        return torch.randn(n, *self.shape, generator=generator, dtype=torch.float64)


def last_logits(model: Any, tokens: Tensor) -> Tensor:
    """Three logits of the last token, the ones with which a causal language model predicts the next."""
    return model(input_ids=tokens, use_cache=False).logits[:, -1, :3]  # type: ignore[no-any-return]


def recurrent_logits(model: Any, tokens: Tensor) -> Tensor:
    """The same outputs of a model that has no cache."""
    return model(input_ids=tokens).logits[:, -1, :3]  # type: ignore[no-any-return]


def pooled(model: Any, tokens: Tensor) -> Tensor:
    """Three features, averaged over positions."""
    return model(tokens).last_hidden_state.flatten(2).mean(1)[:, :3]  # type: ignore[no-any-return]


def image_pooled(model: Any, images: Tensor) -> Tensor:
    """Three channels of the last feature map, averaged over positions."""
    return model(images).last_hidden_state.flatten(2).mean(2)[:, :3]  # type: ignore[no-any-return]


SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
}
GROUPED = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4}
GPT2_LIKE = {"vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
EXPERTS = {**GROUPED, "num_experts": 8, "num_experts_per_tok": 2}
RELATIVE = {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
NARROW_EMBEDDING = {**SMALL, "embedding_size": 8}
PICTURE = (3, 16, 16)
IMAGES = {"image_size": 16, "patch_size": 8, "num_channels": 3}
WINDOWS = {"image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 2}
STAGES = {"hidden_sizes": [4, 8], "depths": [1, 1]}
PYRAMID = {**STAGES, "num_encoder_blocks": 2, "strides": [4, 2]}
SPEECH = {
    **SMALL,
    "conv_dim": [8, 8],
    "conv_stride": [4, 2],
    "conv_kernel": [8, 3],
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}


def text(name: str, settings: Mapping[str, Any] = SMALL, model: str = "", **more: Any) -> Family:
    """A causal language model."""
    return Family(name, model or f"{name}ForCausalLM", settings, more.pop("forward", last_logits), **more)


def encoder(name: str, settings: Mapping[str, Any] = SMALL, model: str = "", **more: Any) -> Family:
    """A model of text that returns features."""
    return Family(name, model or f"{name}Model", settings, more.pop("forward", pooled), **more)


def vision(name: str, settings: Mapping[str, Any], model: str = "", **more: Any) -> Family:
    """A model of images that returns features (n, positions, channels)."""
    return Family(
        name, model or f"{name}Model", settings, more.pop("forward", pooled), more.pop("shape", PICTURE), **more
    )


SINGLE = 3e-6  # tolerance for networks that compute in float32 inside
FAMILIES = [
    # Language models; some have query, key and value in one product.
    text("GPT2", GPT2_LIKE, "GPT2LMHeadModel"),
    text("GPTBigCode", GPT2_LIKE),
    text("GPTNeoX"),
    text(
        "GPTNeo",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 16,
            "num_layers": 2,
            "num_heads": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
        },
    ),
    text("GPTJ", {**GPT2_LIKE, "rotary_dim": 4}),
    text("Falcon"),
    text("Mpt", {"vocab_size": VOCABULARY, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 16}),
    text("Bloom", {"vocab_size": VOCABULARY, "hidden_size": 16, "n_layer": 2, "n_head": 2}),
    text("CodeGen", {**GPT2_LIKE, "n_embd": 32, "n_head": 4, "rotary_dim": 4}),
    text("OPT", {**SMALL, "ffn_dim": 24, "word_embed_proj_dim": 8}),
    text("Phi"),
    text("Phi3"),
    *(
        text(name, GROUPED)
        for name in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma2", "Olmo2", "StableLm", "Cohere")
    ),
    # Mixtures of experts, whose experts share a parameter.
    text("Mixtral", {**GROUPED, "num_local_experts": 8}),
    text("Qwen2Moe", {**EXPERTS, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}),
    text("Olmoe", EXPERTS),
    text("GptOss", {**GROUPED, "num_local_experts": 8}),
    text(
        "DeepseekV3",
        {
            **SMALL,
            "n_routed_experts": 8,
            "n_group": 2,
            "topk_group": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 8,
            "q_lora_rank": 6,
            "kv_lora_rank": 6,
            "qk_rope_head_dim": 4,
            "qk_nope_head_dim": 4,
            "v_head_dim": 4,
            "first_k_dense_replace": 1,
        },
    ),
    # Recurrent states in place of attention.
    text(
        "Mamba",
        {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4, "time_step_rank": 2},
        forward=recurrent_logits,
    ),
    text(
        "Mamba2",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 8,
            "num_hidden_layers": 2,
            "state_size": 4,
            "num_heads": 4,
            "head_dim": 4,
            "n_groups": 2,
            "chunk_size": 4,
        },
        forward=recurrent_logits,
    ),
    text(
        "Rwkv",
        {"vocab_size": VOCABULARY, "hidden_size": 8, "num_hidden_layers": 2, "context_length": 16},
        tolerance=SINGLE,
    ),
    text("RecurrentGemma", {**GROUPED, "lru_width": 16, "num_hidden_layers": 3, "attention_window_size": 4}),
    # Encoders.
    encoder("Bert"),
    encoder("Roberta"),
    encoder("DistilBert", {"vocab_size": VOCABULARY, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}),
    encoder("Deberta", RELATIVE),
    encoder("DebertaV2", {**RELATIVE, "share_att_key": True, "position_buckets": 4, "norm_rel_ebd": "layer_norm"}),
    encoder("Albert", {**NARROW_EMBEDDING, "num_hidden_groups": 1}),
    encoder("Electra", NARROW_EMBEDDING),
    encoder("MPNet"),
    encoder(
        "Funnel",
        {
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "n_head": 2,
            "d_head": 8,
            "d_inner": 24,
            "block_sizes": [1, 1],
            "num_decoder_layers": 1,
        },
    ),
    encoder("ModernBert", {**SMALL, "global_attn_every_n_layers": 2}),
    encoder("FNet"),
    encoder("SqueezeBert", {**SMALL, "embedding_size": 16}),
    encoder("ConvBert", {**SMALL, "embedding_size": 16}),
    encoder("RoFormer", NARROW_EMBEDDING),
    encoder("XLNet", {"vocab_size": VOCABULARY, "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
    encoder(
        "T5",
        {"vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
        "T5EncoderModel",
    ),
    # Images.
    vision("ViT", {**SMALL, **IMAGES}),
    vision("Beit", {**SMALL, **IMAGES, "use_relative_position_bias": True}),
    *(vision(name, {**SMALL, **IMAGES}) for name in ("DeiT", "Dinov2", "CLIPVision", "SiglipVision")),
    vision("Swin", WINDOWS),
    vision("Swinv2", WINDOWS),
    vision(
        "Segformer",
        {**PYRAMID, "num_attention_heads": [1, 2], "sr_ratios": [2, 1], "patch_sizes": [7, 3], "mlp_ratios": [2, 2]},
        forward=image_pooled,
    ),
    vision(
        "Pvt",
        {
            **IMAGES,
            **PYRAMID,
            "image_size": 32,
            "num_attention_heads": [1, 2],
            "sequence_reduction_ratios": [2, 1],
            "patch_sizes": [4, 2],
            "mlp_ratios": [2, 2],
        },
        shape=(3, 32, 32),
    ),
    vision("ConvNext", {**STAGES, "num_stages": 2}, forward=image_pooled),
    vision("ConvNextV2", {**STAGES, "num_stages": 2}, forward=image_pooled),
    vision("ResNet", {"embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1]}, forward=image_pooled),
    vision(
        "RegNet",
        {"embedding_size": 4, "hidden_sizes": [16, 32], "depths": [1, 1], "groups_width": 4},
        forward=image_pooled,
    ),
    vision(
        "PoolFormer",
        {**PYRAMID, "patch_sizes": [7, 3], "padding": [2, 1], "mlp_ratio": 2.0},
        forward=image_pooled,
    ),
    vision(
        "Levit",
        {
            **IMAGES,
            "image_size": 32,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
            "patch_size": 16,
            "hidden_sizes": [16, 16, 16],
            "num_attention_heads": [1, 1, 1],
            "depths": [1, 1, 1],
            "key_dim": [4, 4, 4],
            "mlp_ratio": [2, 2, 2],
            "attention_ratio": [2, 2, 2],
        },
        shape=(3, 32, 32),
    ),
    # Sound and time series.
    vision("Wav2Vec2", SPEECH, shape=(64,)),
    vision("Hubert", SPEECH, shape=(64,)),
    vision("SEW", {**SPEECH, "squeeze_factor": 2}, shape=(64,)),
    vision(
        "PatchTST",
        {
            "num_input_channels": 2,
            "context_length": 16,
            "patch_length": 4,
            "patch_stride": 4,
            "d_model": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "ffn_dim": 12,
        },
        shape=(16, 2),
    ),
]
# A network that mixes its samples: it scales by the largest entry of the batch.
MIXED = encoder("Nystromformer", {**SMALL, "segment_means_seq_len": 6, "num_landmarks": 3})
