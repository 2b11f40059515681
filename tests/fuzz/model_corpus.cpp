// model_corpus FOLDER: writes the models that the model fuzzer begins with, some KB each. They are committed in
// corpus/model; run this again to add one.
#include "../random_weights.h"

#include <cstdio>
#include <map>

using namespace el;

namespace {

struct Shape {
    uint32_t layers, width, heads, kv_heads, head_dim, ffn, vocab;
    bool tied;
    // Of the matrices, in turn. A block format needs the width, or what it reads, to be a multiple of its block.
    Format matrix, of_heads, of_ffn;
    Format vector;
    const char *rope;  // kind of scaling
    bool vocabulary;
};

void set_metadata(GgufWriter &out, const Shape &s) {
    out.set("general.architecture", "llama");
    out.set("llama.context_length", 64u);
    out.set("llama.embedding_length", s.width);
    out.set("llama.block_count", s.layers);
    out.set("llama.feed_forward_length", s.ffn);
    out.set("llama.attention.head_count", s.heads);
    out.set("llama.attention.head_count_kv", s.kv_heads);
    out.set("llama.attention.key_length", s.head_dim);
    out.set("llama.attention.value_length", s.head_dim);
    out.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    out.set("llama.rope.freq_base", 10000.0f);
    out.set("llama.rope.dimension_count", s.head_dim);
    out.set("llama.rope.scaling.type", s.rope);
    out.set("llama.rope.scaling.factor", 4.0f);
    out.set("llama.rope.scaling.original_context_length", 16u);
    if (!s.vocabulary) {
        out.set("tokenizer.ggml.model", "none");
        return;
    }
    std::vector<std::string> tokens;
    for (uint32_t i = 0; i < s.vocab; ++i) tokens.emplace_back(1, static_cast<char>('A' + i));
    out.set("tokenizer.ggml.model", "gpt2");
    out.set("tokenizer.ggml.pre", "gpt-2");
    out.set_array("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
    out.set_array("tokenizer.ggml.merges", std::span<const std::string>());
}

void write_model(const std::string &path, const Shape &s) {
    GgufWriter out(path);
    set_metadata(out, s);
    RandomWeights weights(out);
    weights.declare("token_embd.weight", s.matrix, s.width, s.vocab);
    weights.declare("output_norm.weight", s.vector, s.width, 1);
    if (!s.tied) weights.declare("output.weight", s.matrix, s.width, s.vocab);
    if (s.head_dim > 2) weights.declare("rope_freqs.weight", Format::kF32, s.head_dim / 2, 1);
    for (uint32_t i = 0; i < s.layers; ++i) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        weights.declare(layer + "attn_norm.weight", s.vector, s.width, 1);
        weights.declare(layer + "attn_q.weight", s.matrix, s.width, s.heads * s.head_dim);
        weights.declare(layer + "attn_k.weight", s.matrix, s.width, s.kv_heads * s.head_dim);
        weights.declare(layer + "attn_v.weight", s.matrix, s.width, s.kv_heads * s.head_dim);
        weights.declare(layer + "attn_output.weight", s.of_heads, s.heads * s.head_dim, s.width);
        weights.declare(layer + "ffn_norm.weight", s.vector, s.width, 1);
        weights.declare(layer + "ffn_gate.weight", s.matrix, s.width, s.ffn);
        weights.declare(layer + "ffn_up.weight", s.matrix, s.width, s.ffn);
        weights.declare(layer + "ffn_down.weight", s.of_ffn, s.ffn, s.width);
    }
    weights.write();
}

// ---- what other architectures add, each in one small model of width 16 and 16 tokens

using Lengths = std::vector<uint32_t>;
struct Kind {
    const char *architecture, *epsilon = "attention.layer_norm_rms_epsilon";
    std::map<std::string, uint32_t> counts;
    std::map<std::string, Lengths> arrays;
    std::map<std::string, Lengths> tensors;  // columns and rows of those that are no vector; `#` is each layer
};

// clang-format off
const Kind kKinds[] = {
    {.architecture = "gemma4",
     .counts = {{"block_count", 3}, {"attention.head_count", 2}, {"attention.head_count_kv", 1},
                {"attention.key_length", 8}, {"attention.value_length", 8}, {"attention.key_length_swa", 4},
                {"attention.value_length_swa", 4}, {"attention.sliding_window", 3},
                {"attention.shared_kv_layers", 1}, {"rope.dimension_count_swa", 4},
                {"embedding_length_per_layer_input", 4}, {"feed_forward_length", 16}},
     .arrays = {{"attention.sliding_window_pattern", {1, 0, 1}}},
     .tensors = {{"rope_freqs.weight", {4}}, {"per_layer_token_embd.weight", {12, 16}},
                 {"per_layer_model_proj.weight", {16, 12}}, {"per_layer_proj_norm.weight", {4}},
                 {"blk.0.attn_q.weight", {16, 8}}, {"blk.0.attn_k.weight", {16, 4}},
                 {"blk.0.attn_v.weight", {16, 4}}, {"blk.0.attn_output.weight", {8, 16}},
                 {"blk.0.attn_q_norm.weight", {4}}, {"blk.0.attn_k_norm.weight", {4}},
                 {"blk.1.attn_q.weight", {16, 16}}, {"blk.1.attn_k.weight", {16, 8}},
                 {"blk.1.attn_output.weight", {16, 16}}, {"blk.1.attn_q_norm.weight", {8}},
                 {"blk.1.attn_k_norm.weight", {8}}, {"blk.2.attn_q.weight", {16, 8}},
                 {"blk.2.attn_k.weight", {16, 4}}, {"blk.2.attn_output.weight", {8, 16}},
                 {"blk.2.attn_q_norm.weight", {4}}, {"blk.#.post_attention_norm.weight", {16}},
                 {"blk.#.post_ffw_norm.weight", {16}}, {"blk.#.ffn_norm.weight", {16}},
                 {"blk.#.ffn_gate.weight", {16, 16}}, {"blk.#.ffn_up.weight", {16, 16}},
                 {"blk.#.ffn_down.weight", {16, 16}}, {"blk.#.inp_gate.weight", {16, 4}},
                 {"blk.#.proj.weight", {4, 16}}, {"blk.#.post_norm.weight", {16}},
                 {"blk.#.layer_output_scale.weight", {1}}}},
    {.architecture = "gpt-oss",
     .counts = {{"block_count", 2}, {"attention.head_count", 2}, {"attention.head_count_kv", 1},
                {"attention.sliding_window", 2}, {"expert_count", 4}, {"expert_used_count", 2},
                {"expert_feed_forward_length", 8}},
     .arrays = {},
     .tensors = {{"blk.#.attn_q.weight", {16, 16}}, {"blk.#.attn_q.bias", {16}}, {"blk.#.attn_k.weight", {16, 8}},
                 {"blk.#.attn_v.weight", {16, 8}}, {"blk.#.attn_output.weight", {16, 16}},
                 {"blk.#.attn_output.bias", {16}}, {"blk.#.attn_sinks.weight", {2}},
                 {"blk.#.post_attention_norm.weight", {16}}, {"blk.#.ffn_gate_inp.weight", {16, 4}},
                 {"blk.#.ffn_gate_inp.bias", {4}}, {"blk.#.ffn_gate_exps.weight", {16, 8, 4}},
                 {"blk.#.ffn_up_exps.weight", {16, 8, 4}}, {"blk.#.ffn_down_exps.weight", {8, 16, 4}},
                 {"blk.#.ffn_gate_exps.bias", {8, 4}}, {"blk.#.ffn_up_exps.bias", {8, 4}},
                 {"blk.#.ffn_down_exps.bias", {16, 4}}}},
    {.architecture = "granitehybrid",
     .counts = {{"block_count", 2}, {"attention.head_count", 2}, {"feed_forward_length", 8}, {"expert_count", 3},
                {"expert_used_count", 2}, {"expert_shared_feed_forward_length", 8}, {"ssm.conv_kernel", 3},
                {"ssm.group_count", 2}, {"ssm.time_step_rank", 4}, {"ssm.state_size", 4}, {"ssm.inner_size", 16}},
     .arrays = {{"attention.head_count_kv", {0, 1}}},
     .tensors = {{"blk.0.ssm_in.weight", {16, 52}}, {"blk.0.ssm_conv1d.weight", {3, 32}},
                 {"blk.0.ssm_conv1d.bias", {32}}, {"blk.0.ssm_a", {1, 4}}, {"blk.0.ssm_d", {1, 4}},
                 {"blk.0.ssm_dt.bias", {4}}, {"blk.0.ssm_norm.weight", {8, 2}}, {"blk.0.ssm_out.weight", {16, 16}},
                 {"blk.1.attn_q.weight", {16, 16}}, {"blk.1.attn_k.weight", {16, 8}},
                 {"blk.1.attn_v.weight", {16, 8}}, {"blk.1.attn_output.weight", {16, 16}},
                 {"blk.#.ffn_norm.weight", {16}}, {"blk.#.ffn_gate_inp.weight", {16, 3}},
                 {"blk.#.ffn_gate_exps.weight", {16, 8, 3}}, {"blk.#.ffn_up_exps.weight", {16, 8, 3}},
                 {"blk.#.ffn_down_exps.weight", {8, 16, 3}}, {"blk.#.ffn_gate_shexp.weight", {16, 8}},
                 {"blk.#.ffn_up_shexp.weight", {16, 8}}, {"blk.#.ffn_down_shexp.weight", {8, 16}}}},
    {.architecture = "lfm2",
     .counts = {{"block_count", 2}, {"attention.head_count", 2}, {"feed_forward_length", 16},
                {"shortconv.l_cache", 3}},
     .arrays = {{"attention.head_count_kv", {0, 1}}},
     .tensors = {{"token_embd_norm.weight", {16}}, {"blk.0.shortconv.in_proj.weight", {16, 48}},
                 {"blk.0.shortconv.conv.weight", {3, 16}}, {"blk.0.shortconv.out_proj.weight", {16, 16}},
                 {"blk.1.attn_q.weight", {16, 16}}, {"blk.1.attn_k.weight", {16, 8}},
                 {"blk.1.attn_v.weight", {16, 8}}, {"blk.1.attn_output.weight", {16, 16}},
                 {"blk.1.attn_q_norm.weight", {8}}, {"blk.1.attn_k_norm.weight", {8}},
                 {"blk.#.ffn_norm.weight", {16}}, {"blk.#.ffn_gate.weight", {16, 16}},
                 {"blk.#.ffn_up.weight", {16, 16}}, {"blk.#.ffn_down.weight", {16, 16}}}},
    {.architecture = "qwen35",
     .counts = {{"block_count", 3}, {"attention.head_count", 2}, {"attention.head_count_kv", 1},
                {"feed_forward_length", 16}, {"full_attention_interval", 2}, {"nextn_predict_layers", 1},
                {"rope.dimension_count", 4}, {"ssm.conv_kernel", 4}, {"ssm.group_count", 1},
                {"ssm.time_step_rank", 2}, {"ssm.state_size", 4}, {"ssm.inner_size", 8}},
     .arrays = {},
     .tensors = {{"blk.0.attn_qkv.weight", {16, 16}}, {"blk.0.attn_gate.weight", {16, 8}},
                 {"blk.0.ssm_conv1d.weight", {4, 16}}, {"blk.0.ssm_alpha.weight", {16, 2}},
                 {"blk.0.ssm_beta.weight", {16, 2}}, {"blk.0.ssm_a", {2}}, {"blk.0.ssm_dt.bias", {2}},
                 {"blk.0.ssm_norm.weight", {4}}, {"blk.0.ssm_out.weight", {8, 16}},
                 {"blk.1.attn_q.weight", {16, 32}}, {"blk.1.attn_k.weight", {16, 8}},
                 {"blk.1.attn_v.weight", {16, 8}}, {"blk.1.attn_output.weight", {16, 16}},
                 {"blk.1.attn_q_norm.weight", {8}}, {"blk.1.attn_k_norm.weight", {8}}, {"blk.2.nextn.enorm.weight", {16}},
                 {"blk.#.post_attention_norm.weight", {16}}, {"blk.#.ffn_gate.weight", {16, 16}},
                 {"blk.#.ffn_up.weight", {16, 16}}, {"blk.#.ffn_down.weight", {16, 16}}}},
    {.architecture = "stablelm",
     .epsilon = "attention.layer_norm_epsilon",
     .counts = {{"block_count", 1}, {"attention.head_count", 2}, {"attention.head_count_kv", 1},
                {"feed_forward_length", 16}, {"rope.dimension_count", 4}},
     .arrays = {},
     .tensors = {{"output_norm.bias", {16}}, {"blk.#.attn_norm.bias", {16}}, {"blk.#.attn_q.weight", {16, 16}},
                 {"blk.#.attn_k.weight", {16, 8}}, {"blk.#.attn_v.weight", {16, 8}},
                 {"blk.#.attn_output.weight", {16, 16}}, {"blk.#.attn_q_norm.weight", {8, 2}},
                 {"blk.#.attn_k_norm.weight", {8}}, {"blk.#.ffn_norm.weight", {16}}, {"blk.#.ffn_norm.bias", {16}},
                 {"blk.#.ffn_gate.weight", {16, 16}}, {"blk.#.ffn_up.weight", {16, 16}},
                 {"blk.#.ffn_down.weight", {16, 16}}}},
};
// clang-format on

void declare(RandomWeights &weights, const std::string &name, const Lengths &shape) {
    const uint32_t rows = shape.size() > 1 ? shape[1] : 1, matrices = shape.size() > 2 ? shape[2] : 1;
    weights.declare(name, Format::kF32, shape[0], rows * matrices);
}

void write_kind(const std::string &path, const Kind &kind) {
    GgufWriter out(path);
    const std::string prefix = std::string(kind.architecture) + ".";
    out.set("general.architecture", kind.architecture);
    out.set(prefix + kind.epsilon, 1e-5f);
    out.set(prefix + "context_length", 64u);
    out.set(prefix + "embedding_length", 16u);
    for (const auto &[key, value] : kind.counts) out.set(prefix + key, value);
    for (const auto &[key, values] : kind.arrays) out.set_array(prefix + key, std::span<const uint32_t>(values));
    out.set("tokenizer.ggml.model", "none");
    RandomWeights weights(out);
    weights.declare("token_embd.weight", Format::kF32, 16, 16);
    if (!kind.tensors.contains("token_embd_norm.weight")) weights.declare("output_norm.weight", Format::kF32, 16, 1);
    const uint32_t drafting = kind.counts.contains("nextn_predict_layers") ? 1 : 0;
    for (uint32_t i = 0; i < kind.counts.at("block_count") - drafting; ++i)
        weights.declare("blk." + std::to_string(i) + ".attn_norm.weight", Format::kF32, 16, 1);
    for (const auto &[name, shape] : kind.tensors) {
        const size_t hole = name.find('#');
        if (hole == name.npos) declare(weights, name, shape);
        for (uint32_t i = 0; hole != name.npos && i < kind.counts.at("block_count") - drafting; ++i)
            declare(weights, name.substr(0, hole) + std::to_string(i) + name.substr(hole + 1), shape);
    }
    weights.write();
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    using enum Format;
    const std::pair<const char *, Shape> models[] = {
        {"f32", {1, 16, 2, 1, 8, 20, 32, true, kF32, kF32, kF32, kF32, "none", false}},
        {"f16", {1, 32, 2, 2, 10, 18, 32, false, kF16, kF16, kBF16, kF16, "yarn", false}},
        {"q8_0", {2, 32, 2, 1, 16, 32, 32, true, kQ8_0, kQ8_0, kQ8_0, kF32, "linear", true}},
        {"q4_0", {2, 32, 4, 2, 8, 64, 32, false, kQ4_0, kQ4_1, kQ5_0, kF32, "none", true}},
        {"q4_k", {1, 256, 2, 1, 2, 6, 12, true, kQ4_K, kF16, kF16, kF32, "none", false}},
        {"iq2_s", {1, 256, 2, 1, 2, 32, 12, true, kIQ2_S, kF16, kMXFP4, kF32, "none", false}},
        {"iq1_m", {1, 256, 2, 1, 2, 6, 12, true, kIQ1_M, kF16, kF16, kF32, "none", false}},
        {"nvfp4", {1, 64, 2, 2, 16, 64, 32, true, kNVFP4, kIQ4_NL, kNVFP4, kF32, "none", false}},
    };
    try {
        for (const auto &[name, shape] : models) write_model(std::string(argv[1]) + "/" + name + ".gguf", shape);
        for (const Kind &kind : kKinds) write_kind(std::string(argv[1]) + "/" + kind.architecture + ".gguf", kind);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "model_corpus: %s\n", error.what());
        return 1;
    }
    return 0;
}
