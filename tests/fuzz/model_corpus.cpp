// model_corpus FOLDER: writes the models that the model fuzzer begins with, some KB each. They are committed in
// corpus/model; run this again to add one.
#include "../random_weights.h"

#include <cstdio>

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
    } catch (const std::exception &error) {
        std::fprintf(stderr, "model_corpus: %s\n", error.what());
        return 1;
    }
    return 0;
}
