"""The architectures of make_arch.py: the original's configuration for given dimensions, and what the file must say.

d: the dimensions, as attributes: layers, width, heads, kv_heads, head_dim, ffn, vocab, experts, experts_used, window.
"""
import transformers


def rope(theta=10000.0, **more):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta, **more}}


def llama3_rope(theta):
    return rope(theta, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=32)


def moe(d, count="num_experts"):
    return {count: d.experts, "num_experts_per_tok": d.experts_used}


def windows(d, full_every):
    """Every so manieth layer sees all, the others a window."""
    kinds = ["full_attention" if (i + 1) % full_every == 0 else "sliding_attention" for i in range(d.layers)]
    return {"layer_types": kinds, "sliding_window": d.window}


def factors(d, first, step):
    return [first + step * i for i in range(d.head_dim // 2)]


def gemma4_config(d, of_full_layers=None, shared_layers=2, per_layer_width=16):
    kinds = windows(d, 2)
    full = [i for i, kind in enumerate(kinds["layer_types"]) if kind == "full_attention"]
    own = {"head_dim": 2 * d.head_dim, **(of_full_layers or {})}
    return {**TIED, **kinds, "num_kv_shared_layers": shared_layers, "hidden_size_per_layer_input": per_layer_width,
            "final_logit_softcapping": 30.0, "vocab_size_per_layer_input": d.vocab,
            "per_layer_config": {i: own for i in full},
            "rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                                "full_attention": {"rope_type": "proportional", "rope_theta": 1e6,
                                                   "partial_rotary_factor": 0.25}}}


def two_ropes(full, sliding, **of_full):
    return {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": full, **of_full},
                                "sliding_attention": {"rope_type": "default", "rope_theta": sliding}}}


def third_is_attention(d, other, attention):
    return {"layer_types": [attention if i % 4 == 2 else other for i in range(d.layers)]}


GRANITE = {"attention_multiplier": 0.1, "embedding_multiplier": 6.0, "residual_multiplier": 0.3, "logits_scaling": 4.0}
TIED = {"tie_word_embeddings": True}
YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


def granite_hybrid_config(d):
    return {**rope(), **GRANITE, **third_is_attention(d, "mamba", "attention"), "position_embedding_type": "nope",
            "num_local_experts": 0, "num_experts_per_tok": 0, "shared_intermediate_size": d.ffn, "mamba_expand": 2,
            "mamba_n_heads": 2 * d.heads, "mamba_d_head": d.head_dim, "mamba_n_groups": 1, "mamba_d_state": 16}


class Variant:
    """arch: the file's architecture; model: transformers' name; config: more of the configuration, from the dimensions;
    dims: other defaults; own_head_dim: the head's size is free, else width / heads; flags, of
      permute  rotated pairs are neighbours in the file, halves in the original
      plus1    norms multiply by 1 + weight in the original
      post     the norm after the attention is none before the feed-forward
      rope_dims  the file says how many values of a head are rotated
      head_dims  the file says the head's size
      all_heads  as many KV heads as heads"""

    def __init__(self, arch, model, config, flags="", dims=None, own_head_dim=False):
        self.arch, self.model, self.config, self.own_head_dim = arch, model, config, own_head_dim
        self.flags, self.dims = set(flags.split()), dims or {}


LLAMA = "permute rope_dims head_dims"
VARIANTS = {
    "llama": Variant("llama", "llama", lambda d: rope(), LLAMA),
    "llama-linear-rope": Variant("llama", "llama", lambda d: rope(rope_type="linear", factor=4.0), LLAMA),
    "llama-rope3-tied": Variant("llama", "llama", lambda d: {**TIED, **llama3_rope(50000.0)}, LLAMA),
    "llama-yarn": Variant("llama", "llama", lambda d: rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32), LLAMA),
    "mistral-headdim": Variant("llama", "mistral", lambda d: {**rope(), "sliding_window": None}, LLAMA,
                               {"head_dim": 24}, own_head_dim=True),
    "ministral3": Variant("mistral3", "ministral3", lambda d: rope(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=32, mscale=1.0, mscale_all_dim=1.0,
        llama_4_scaling_beta=0.1, **YARN_BETAS), LLAMA, {"head_dim": 32}, own_head_dim=True),
    "smollm3": Variant("smollm3", "smollm3", lambda d: {**TIED, **rope(2e6), "no_rope_layer_interval": 4},
                       "permute rope_dims", {"layers": 5}),
    "granite": Variant("granite", "granite", lambda d: {**rope(), **GRANITE}, "permute rope_dims"),
    "qwen2": Variant("qwen2", "qwen2", lambda d: {**TIED, **rope()}),
    "qwen3": Variant("qwen3", "qwen3", lambda d: rope(), "head_dims", {"head_dim": 32}, own_head_dim=True),
    "gemma2": Variant("gemma2", "gemma2", lambda d: {
        **TIED, **rope(), **windows(d, 2), "query_pre_attn_scalar": d.head_dim, "attn_logit_softcapping": 20.0,
        "final_logit_softcapping": 10.0}, "plus1 post head_dims", {"layers": 4}, own_head_dim=True),
    "gemma2-27b": Variant("gemma2", "gemma2", lambda d: {
        **TIED, **rope(), **windows(d, 2), "query_pre_attn_scalar": d.width // d.heads, "attn_logit_softcapping": 20.0,
        "final_logit_softcapping": 10.0}, "plus1 post head_dims", {"layers": 46, "head_dim": 32}, own_head_dim=True),
    "gemma3": Variant("gemma3", "gemma3_text", lambda d: {
        **TIED, **two_ropes(1e6, 1e4), **windows(d, 6), "query_pre_attn_scalar": d.head_dim}, "plus1 post head_dims",
        {"layers": 7}, own_head_dim=True),
    "gemma3-27b": Variant("gemma3", "gemma3_text", lambda d: {
        **TIED, **two_ropes(1e6, 1e4, rope_type="linear", factor=8.0), **windows(d, 6),
        "query_pre_attn_scalar": d.width // d.heads}, "plus1 post head_dims", {"layers": 62, "head_dim": 32},
        own_head_dim=True),
    "gemma4": Variant("gemma4", "gemma4_text", gemma4_config, "post", {"layers": 6}, own_head_dim=True),
    "gemma4-e2b": Variant("gemma4", "gemma4_text", lambda d: {**gemma4_config(d), "use_double_wide_mlp": True}, "post",
                          {"layers": 6}, own_head_dim=True),
    "gemma4-31b": Variant("gemma4", "gemma4_text", lambda d: {
        **gemma4_config(d, {"num_key_value_heads": 1}, 0, 0), "attention_k_eq_v": True}, "post", {"layers": 4},
        own_head_dim=True),
    "phi3": Variant("phi3", "phi3", lambda d: rope(partial_rotary_factor=1.0), "rope_dims", {"kv_heads": 4}),
    "phi3-window": Variant("phi3", "phi3", lambda d: {
        **rope(partial_rotary_factor=1.0), "sliding_window": d.window}, "rope_dims", {"kv_heads": 4}),
    "phi4-mini": Variant("phi3", "phi3", lambda d: {
        **TIED, **rope(partial_rotary_factor=0.75), "partial_rotary_factor": 0.75,
        "original_max_position_embeddings": 256}, "rope_dims", {"head_dim": 32}),
    "phi3-longrope": Variant("phi3", "phi3", lambda d: {
        **rope(rope_type="longrope", partial_rotary_factor=1.0, original_max_position_embeddings=32,
               short_factor=factors(d, 1.0, 0.05), long_factor=factors(d, 1.5, 0.4)),
        "original_max_position_embeddings": 32}, "rope_dims", {"kv_heads": 4}),
    "stablelm": Variant("stablelm", "stablelm", lambda d: {
        **rope(partial_rotary_factor=0.25), "use_qkv_bias": True, "use_parallel_residual": False}, "rope_dims",
        {"kv_heads": 4}),
    "stablelm-parallel": Variant("stablelm", "stablelm", lambda d: {
        **rope(partial_rotary_factor=0.25), "use_qkv_bias": False, "use_parallel_residual": True}, "rope_dims"),
    "stablelm-12b": Variant("stablelm", "stablelm", lambda d: {
        **rope(partial_rotary_factor=0.25), "qk_layernorm": True, "use_parallel_residual": True}, "rope_dims"),
    "nemotron": Variant("nemotron", "nemotron", lambda d: rope(partial_rotary_factor=0.5), "plus1 rope_dims head_dims"),
    "olmo2": Variant("olmo2", "olmo2", lambda d: rope(), "post"),
    "olmo3": Variant("olmo2", "olmo3", lambda d: {**two_ropes(5e5, 5e5), **windows(d, 4)}, "post", {"layers": 4}),
    "olmo3-yarn": Variant("olmo2", "olmo3", lambda d: {
        **two_ropes(5e5, 5e5, rope_type="yarn", factor=8.0, original_max_position_embeddings=32, **YARN_BETAS),
        **windows(d, 4)}, "post", {"layers": 4}),
    "exaone4": Variant("exaone4", "exaone4", lambda d: {
        **rope(), "sliding_window": None, "sliding_window_pattern": 0, "layer_types": ["full_attention"] * d.layers},
        "post head_dims"),
    "exaone4-32b": Variant("exaone4", "exaone4", lambda d: {
        **llama3_rope(1e6), **windows(d, 4), "sliding_window_pattern": 4}, "post head_dims", {"layers": 64}),
    "hunyuan-dense": Variant("hunyuan-dense", "hunyuan_v1_dense", lambda d: rope(), "head_dims", own_head_dim=True),
    "mixtral": Variant("llama", "mixtral", lambda d: {**rope(1e6), **moe(d, "num_local_experts")}, LLAMA, {"ffn": 64}),
    "qwen2moe": Variant("qwen2moe", "qwen2_moe", lambda d: {
        **rope(), **moe(d), "moe_intermediate_size": 64, "shared_expert_intermediate_size": d.ffn}),
    "qwen3moe": Variant("qwen3moe", "qwen3_moe", lambda d: {
        **rope(), **moe(d, "num_local_experts"), "moe_intermediate_size": 32, "norm_topk_prob": True}, "head_dims",
        {"experts": 8, "experts_used": 3}, own_head_dim=True),
    "olmoe": Variant("olmoe", "olmoe", lambda d: {**rope(), **moe(d)}, "all_heads", {"ffn": 32, "experts": 8}),
    "granitemoe": Variant("granitemoe", "granitemoe", lambda d: {**rope(), **GRANITE, **moe(d, "num_local_experts")},
                          "permute rope_dims", {"ffn": 64}),
    "gpt-oss": Variant("gpt-oss", "gpt_oss", lambda d: {
        **rope(150000.0, rope_type="yarn", factor=32.0, original_max_position_embeddings=4096, truncate=False,
               **YARN_BETAS), **windows(d, 2), **moe(d, "num_local_experts")}, "post head_dims",
        {"layers": 4, "ffn": 64}, own_head_dim=True),
    "lfm2": Variant("lfm2", "lfm2", lambda d: {
        **TIED, **rope(1e6), **third_is_attention(d, "conv", "full_attention"), "block_auto_adjust_ff_dim": False,
        "conv_L_cache": 3, "norm_eps": 1e-5}, dims={"layers": 4}),
    "qwen35": Variant("qwen35", "qwen3_5_text", lambda d: {
        **TIED, **rope(partial_rotary_factor=0.25), "linear_conv_kernel_dim": 4,
        "linear_num_key_heads": d.kv_heads, "linear_num_value_heads": d.heads,
        "linear_key_head_dim": d.head_dim // 2, "linear_value_head_dim": d.head_dim // 2,
        "layer_types": ["full_attention" if i % 4 == 3 else "linear_attention" for i in range(d.layers)]},
        "plus1 post rope_dims head_dims", {"layers": 4, "head_dim": 32}, own_head_dim=True),
    "granite-hybrid": Variant("granitehybrid", "granitemoehybrid", granite_hybrid_config, "permute rope_dims",
                              {"layers": 4}),
    "granite-hybrid-moe": Variant("granitehybrid", "granitemoehybrid", lambda d: {
        **granite_hybrid_config(d), **moe(d, "num_local_experts"), "intermediate_size": 32}, "permute rope_dims",
        {"layers": 4}),
}


def make_config(variant, d):
    basic = {"num_hidden_layers": d.layers, "hidden_size": d.width, "num_attention_heads": d.heads,
             "num_key_value_heads": d.kv_heads, "intermediate_size": d.ffn, "vocab_size": d.vocab,
             "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
             "tie_word_embeddings": False, "rms_norm_eps": 1e-5, "dtype": "float32"}
    if "head_dims" in variant.flags or variant.own_head_dim:
        basic["head_dim"] = d.head_dim
    return transformers.AutoConfig.for_model(variant.model, **{**basic, **variant.config(d)})
