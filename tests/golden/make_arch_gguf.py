"""The GGUF file of one of make_arch.py's models: metadata, and weights named and laid out as such files have them."""
import math
import re
import struct

import numpy as np
import torch


def write_gguf(path, metadata, tensors):
    """metadata: key -> str, bool, int, float or a list of these; tensors: name -> float16 or float32 array, C order"""
    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    def typed(value):  # -> (the value's type, its bytes)
        if isinstance(value, bool):
            return 7, struct.pack("<?", value)
        if isinstance(value, int):
            return 4, struct.pack("<I", value)
        if isinstance(value, float):
            return 6, struct.pack("<f", value)
        if isinstance(value, str):
            return 8, text(value)
        items = [typed(item) for item in value]
        return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(data for _, data in items)

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        kind, data = typed(value)
        head += text(key) + struct.pack("<I", kind) + data
    body = bytearray()
    for name, value in tensors.items():
        body += bytes(-len(body) % 32)
        shape = value.shape[::-1]
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", {"float32": 0, "float16": 1}[value.dtype.name], len(body))
        body += np.ascontiguousarray(value).tobytes()
    with open(path, "wb") as file:
        file.write(head + bytes(-len(head) % 32) + body)


# ---- metadata

def rope_metadata(variant, c, put):
    parameters = c.rope_parameters
    full = parameters.get("full_attention", parameters)
    if variant.arch not in ("gemma2", "stablelm"):  # where readers assume 10000
        put("rope.freq_base", full["rope_theta"])
    if "sliding_attention" in parameters:
        put("rope.freq_base_swa", parameters["sliding_attention"]["rope_theta"])
    if "rope_dims" in variant.flags:
        head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
        put("rope.dimension_count", int(full.get("partial_rotary_factor", 1.0) * head_dim))
    if full["rope_type"] in ("linear", "yarn"):
        put("rope.scaling.type", full["rope_type"])
        put("rope.scaling.factor", full["factor"])
    if full["rope_type"] == "yarn":
        put("rope.scaling.original_context_length", full["original_max_position_embeddings"])
        for beta in ("beta_fast", "beta_slow"):
            if beta in full:
                put("rope.scaling.yarn_" + beta, full[beta])
    if variant.arch == "phi3":
        put("rope.scaling.original_context_length", c.original_max_position_embeddings)
    if full["rope_type"] == "longrope":
        original = c.original_max_position_embeddings
        stretch = c.max_position_embeddings / original
        put("rope.scaling.attn_factor", math.sqrt(1 + math.log(stretch) / math.log(original)))


def expert_metadata(variant, c, put):
    """What no architecture's own lines below say."""
    count = getattr(c, "num_local_experts", None)
    count = getattr(c, "num_experts", None) if count is None else count
    if count is None:
        return
    put("expert_count", count)
    put("expert_used_count", c.num_experts_per_tok)
    for key, name in (("expert_feed_forward_length", "moe_intermediate_size"),
                      ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
                      ("expert_shared_feed_forward_length", "shared_intermediate_size")):
        if getattr(c, name, None):
            put(key, getattr(c, name))


def hybrid_metadata(variant, c, put):
    attention = [kind in ("attention", "full_attention") for kind in c.layer_types]
    if variant.arch in ("lfm2", "granitehybrid"):
        put("attention.head_count_kv", [c.num_key_value_heads if full else 0 for full in attention])
    if variant.arch == "lfm2":
        put("shortconv.l_cache", c.conv_L_cache)
    if variant.arch == "granitehybrid":
        put("rope.scaling.finetuned", False)  # that is: the attention has no positions
        values = (c.mamba_d_conv, c.mamba_d_state, c.mamba_n_groups, c.mamba_n_heads, c.mamba_expand * c.hidden_size)
    if variant.arch == "qwen35":
        put("attention.recurrent_layers", [not full for full in attention])
        put("full_attention_interval", 4)
        put("rope.dimension_sections", [11, 11, 10, 0])
        values = (c.linear_conv_kernel_dim, c.linear_key_head_dim, c.linear_num_key_heads, c.linear_num_value_heads,
                  c.linear_value_head_dim * c.linear_num_value_heads)
    if variant.arch != "lfm2":
        for key, value in zip(("conv_kernel", "state_size", "group_count", "time_step_rank", "inner_size"), values):
            put("ssm." + key, value)


def gemma4_head_dim(c, kind):
    return c.per_layer_config[c.layer_types.index(kind)].head_dim


def gemma4_metadata(c, put):
    layers = [c.per_layer_config[i] for i in range(c.num_hidden_layers)]
    for key in ("attention.key_length", "attention.value_length", "rope.dimension_count"):
        put(key, gemma4_head_dim(c, "full_attention"))
        put(key + "_swa", gemma4_head_dim(c, "sliding_attention"))
    put("attention.shared_kv_layers", c.num_kv_shared_layers)
    put("embedding_length_per_layer_input", c.hidden_size_per_layer_input)
    kv_heads = [layer.num_key_value_heads for layer in layers]
    put("attention.head_count_kv", kv_heads if len(set(kv_heads)) > 1 else kv_heads[0])
    if c.use_double_wide_mlp:
        own = c.num_hidden_layers - c.num_kv_shared_layers
        put("feed_forward_length", [c.intermediate_size * (1 if i < own else 2) for i in range(c.num_hidden_layers)])


# What the file says where the original's configuration does.
OPTIONAL = {
    "attention.sliding_window": "sliding_window", "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping", "embedding_scale": "embedding_multiplier",
    "attention.scale": "attention_multiplier", "residual_scale": "residual_multiplier", "logit_scale": "logits_scaling",
    "use_parallel_residual": "use_parallel_residual",
}


def make_metadata(name, variant, c):
    metadata = {"general.architecture": variant.arch, "general.type": "model", "general.name": f"Tiny {name}",
                "general.file_type": 1, "general.quantization_version": 2, "tokenizer.ggml.model": "none"}

    def put(key, value):
        metadata[f"{variant.arch}.{key}"] = value

    for key, value in (("block_count", c.num_hidden_layers), ("context_length", c.max_position_embeddings),
                       ("embedding_length", c.hidden_size), ("feed_forward_length", c.intermediate_size),
                       ("attention.head_count", c.num_attention_heads), ("vocab_size", c.vocab_size)):
        put(key, value)
    if variant.arch != "gemma4":
        put("attention.head_count_kv", c.num_key_value_heads)
    epsilon = next(getattr(c, field) for field in ("layer_norm_eps", "norm_eps", "rms_norm_eps") if hasattr(c, field))
    if variant.arch != "stablelm":
        put("attention.layer_norm_rms_epsilon", epsilon)
    if variant.arch in ("stablelm", "nemotron"):
        put("attention.layer_norm_epsilon", epsilon)
    if "head_dims" in variant.flags:
        put("attention.key_length", c.head_dim)
        put("attention.value_length", c.head_dim)
    rope_metadata(variant, c, put)
    expert_metadata(variant, c, put)
    if variant.arch in ("lfm2", "granitehybrid", "qwen35"):
        hybrid_metadata(variant, c, put)
    for key, field in OPTIONAL.items():
        if getattr(c, field, None) is not None and not (field == "sliding_window" and variant.arch.startswith("qwen")):
            put(key, getattr(c, field))
    if variant.arch == "gemma4":
        gemma4_metadata(c, put)
    if variant.arch == "gemma4" or variant.model == "olmo3" or name == "exaone4-32b":
        put("attention.sliding_window_pattern", [kind == "sliding_attention" for kind in c.layer_types])
    if variant.arch == "gpt-oss":
        put("expert_feed_forward_length", c.intermediate_size)
    if variant.arch == "phi3":
        put("attention.sliding_window", c.sliding_window or 0)
    if variant.arch == "nemotron":
        put("rope.scaling.type", "none")
    if variant.arch == "mistral3":
        put("rope.scaling.yarn_log_multiplier", c.rope_parameters["mscale_all_dim"])
        put("attention.temperature_scale", c.rope_parameters["llama_4_scaling_beta"])
    return metadata


# ---- tensors

# The original's module (of a layer, or of the model) and the file's name.
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "model.embedding_norm": "token_embd_norm", "model.embed_tokens_per_layer": "per_layer_token_embd",
    "model.per_layer_model_projection": "per_layer_model_proj",
    "model.per_layer_projection_norm": "per_layer_proj_norm",
    "input_layernorm": "attn_norm", "operator_norm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm", "ffn_norm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.out_proj": "attn_output", "self_attn.qkv_proj": "attn_qkv",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "self_attn.sinks": "attn_sinks",
    "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
    "self_attn.query_layernorm": "attn_q_norm", "self_attn.key_layernorm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down",
    "mlp.gate": "ffn_gate_inp", "mlp.router": "ffn_gate_inp", "block_sparse_moe.router": "ffn_gate_inp",
    "mlp.experts.down_proj": "ffn_down_exps", "block_sparse_moe.experts.down_proj": "ffn_down_exps",
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp", "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp", "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
    "layer_scalar": "layer_output_scale", "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
    "conv.conv": "shortconv.conv", "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj",
    "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate", "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha", "linear_attn.conv1d": "ssm_conv1d", "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
    "mamba.in_proj": "ssm_in", "mamba.conv1d": "ssm_conv1d", "mamba.norm": "ssm_norm", "mamba.out_proj": "ssm_out",
}
# Kept in float32, besides all vectors.
FLOAT32 = ("ffn_gate_inp", "ffn_gate_inp_shexp", "ssm_conv1d", "shortconv.conv", "ssm_norm", "ssm_a", "ssm_d",
           "attn_q_norm", "attn_k_norm")


def neighbours(weight, heads):
    """Rows of each head from (first halves, second halves) to pairs."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def tile_value_heads(stem, value, c):
    """The original has the value heads of one key head together; the file the first of each key head, the second..."""
    key_heads, head_dim = c.linear_num_key_heads, c.linear_value_head_dim

    def tiled(rows, size):
        return rows.reshape(key_heads, -1, size, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)

    if stem in ("linear_attn.in_proj_qkv", "linear_attn.conv1d"):
        first = 2 * key_heads * c.linear_key_head_dim
        return torch.cat([value[:first], tiled(value[first:], head_dim)])
    if stem == "linear_attn.out_proj":
        return tiled(value.T, head_dim).T
    if stem == "linear_attn.in_proj_z":
        return tiled(value, head_dim)
    return value if stem == "linear_attn.norm" else tiled(value, 1)


def convert(variant, c, stem, suffix, value):
    """-> [(the file's name within the layer, value)]"""
    if variant.arch == "qwen35" and stem.startswith("linear_attn"):
        value = tile_value_heads(stem, value, c)
    if "conv1d" in stem or stem == "conv.conv":
        value = value.reshape(value.shape[0], value.shape[-1]) if value.dim() == 3 else value
    if "plus1" in variant.flags and suffix == ".weight" and stem.endswith("norm") and stem != "linear_attn.norm":
        value = value + 1
    if "permute" in variant.flags and re.search(r"self_attn.[qk]_proj", stem):
        value = neighbours(value, c.num_attention_heads if "q_proj" in stem else c.num_key_value_heads)
    per_head = [1] if variant.arch == "granitehybrid" else []
    if stem.endswith(".A_log"):
        return [("ssm_a", (-torch.exp(value)).reshape(*value.shape, *per_head))]
    if stem.endswith(".D"):
        return [("ssm_d", value.reshape(-1, 1))]
    if stem.endswith(".dt_bias"):
        return [("ssm_dt.bias", value)]
    if stem == "mamba.norm":
        value = value.reshape(c.mamba_n_groups, -1)
    if "experts" in stem:  # without a suffix of their own
        stem, suffix = (stem[:-5], ".bias") if stem.endswith("_bias") else (stem, ".weight")
        if variant.arch == "gpt-oss":  # gate and up alternate
            value = value.swapaxes(1, 2) if suffix == ".weight" else value
            if "gate_up" in stem:
                value = torch.cat([value[:, 0::2], value[:, 1::2]], dim=1)
    shared = "_shexp" if stem.startswith("shared_mlp") and c.num_local_experts else ""
    if re.search(r"experts.gate_up_proj|input_linear", stem):
        gate, up = value.chunk(2, dim=1 if "experts" in stem else 0)
        end = "_exps" if "experts" in stem else shared
        return [(f"ffn_gate{end}{suffix}", gate), (f"ffn_up{end}{suffix}", up)]
    if stem == "shared_mlp.output_linear":
        return [(f"ffn_down{shared}{suffix}", value)]
    if stem == "post_attention_layernorm" and "post" in variant.flags:
        return [("post_attention_norm" + suffix, value)]
    return [(NAMES[stem] + (suffix or ".weight"), value)]


def rope_tensors(variant, c):
    parameters = c.rope_parameters.get("full_attention", c.rope_parameters)
    if parameters["rope_type"] == "longrope":
        return {f"rope_factors_{kind}.weight": torch.tensor(parameters[kind + "_factor"]) for kind in ("long", "short")}
    if parameters["rope_type"] == "proportional":  # what is not rotated has no frequency
        pairs = gemma4_head_dim(c, "full_attention") // 2
        rotated = int(pairs * parameters["partial_rotary_factor"])
        return {"rope_freqs.weight": torch.tensor([1.0] * rotated + [1e30] * (pairs - rotated))}
    if parameters["rope_type"] == "llama3":
        low, high = parameters["low_freq_factor"], parameters["high_freq_factor"]
        exponents = torch.arange(0, c.head_dim, 2) / c.head_dim
        turns = parameters["original_max_position_embeddings"] / (2 * math.pi * parameters["rope_theta"] ** exponents)
        smooth = ((turns - low) / (high - low)).clamp(0, 1)
        return {"rope_freqs.weight": 1 / ((1 - smooth) / parameters["factor"] + smooth)}
    return {}


def make_tensors(variant, c, state):
    tensors = rope_tensors(variant, c)
    norms = {}  # StableLM's norms of single heads: stacked
    for name, value in state.items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        prefix, stem, suffix = re.fullmatch(r"(model\.layers\.\d+\.)?(.*?)(\.weight|\.bias)?", name).groups()
        layer = f"blk.{prefix.split('.')[2]}." if prefix else ""
        if ".norms." in stem:
            norms.setdefault(f"{layer}attn_{stem[10]}_norm.weight", []).append(value)
            continue
        for name, value in convert(variant, c, stem, suffix or "", value):
            tensors[layer + name] = value
    tensors.update({name: torch.stack(rows) for name, rows in norms.items()})

    def stored(name, value):
        plain = re.sub(r"^blk\.\d+\.|\.weight$", "", name)
        wide = value.dim() == 1 or plain in FLOAT32 or name.endswith(".bias")
        return value.numpy().astype(np.float32 if wide else np.float16)

    return {name: stored(name, value) for name, value in tensors.items()}
