// tiny_model OUT.gguf: writes a model with random weights and a whole vocabulary, small enough to be loaded a thousand
// times: 256 bytes, a few merges, chat tokens and a chat template.
#include "../random_weights.h"
#include "text/byte_level.h"

#include <cstdio>

using namespace el;

namespace {

constexpr uint64_t kWidth = 64, kHeads = 2, kKvHeads = 1, kFfn = 96, kLayers = 2, kContext = 128;

struct Vocab {
    std::vector<std::string> tokens, merges;
    std::vector<int32_t> kinds;  // as in GGUF

    void add(const std::string &token, int32_t kind) {
        tokens.push_back(token);
        kinds.push_back(kind);
    }
    void merge(const char *left, const char *right) {
        merges.push_back(std::string(left) + " " + right);
        add(std::string(left) + right, 1);
    }
};

Vocab make_vocab() {
    Vocab v;
    for (const char *token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) v.add(token, 3);
    for (int byte = 0; byte < 256; ++byte) {
        std::string text;
        char c = static_cast<char>(byte);
        byte_level_encode({&c, 1}, text);
        v.add(text, 1);
    }
    v.merge("h", "e");
    v.merge("l", "l");
    v.merge("he", "ll");
    v.merge("hell", "o");
    v.add("<tool>", 4);
    return v;
}

constexpr const char *kTemplate =
    "{% for message in messages %}{% if message['role'] == 'nobody' %}{{ raise_exception('who?') }}{% endif %}{{ "
    "'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

void set_metadata(GgufWriter &out, const Vocab &v) {
    out.set("general.architecture", "llama");
    out.set("general.name", "Tiny");
    out.set("llama.vocab_size", static_cast<uint32_t>(v.tokens.size()));
    out.set("llama.context_length", static_cast<uint32_t>(kContext));
    out.set("llama.embedding_length", static_cast<uint32_t>(kWidth));
    out.set("llama.block_count", static_cast<uint32_t>(kLayers));
    out.set("llama.feed_forward_length", static_cast<uint32_t>(kFfn));
    out.set("llama.attention.head_count", static_cast<uint32_t>(kHeads));
    out.set("llama.attention.head_count_kv", static_cast<uint32_t>(kKvHeads));
    out.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    out.set("llama.rope.freq_base", 10000.0f);
    out.set("tokenizer.ggml.model", "gpt2");
    out.set("tokenizer.ggml.pre", "smollm");
    out.set_array("tokenizer.ggml.tokens", std::span<const std::string>(v.tokens));
    out.set_array("tokenizer.ggml.token_type", std::span<const int32_t>(v.kinds));
    out.set_array("tokenizer.ggml.merges", std::span<const std::string>(v.merges));
    out.set("tokenizer.ggml.bos_token_id", 1u);
    out.set("tokenizer.ggml.eos_token_id", 2u);
    out.set("tokenizer.ggml.add_bos_token", true);
    out.set("tokenizer.chat_template", kTemplate);
}

void write_model(const char *path) {
    const Vocab vocab = make_vocab();
    constexpr uint64_t kKvWidth = kWidth / kHeads * kKvHeads;
    GgufWriter out(path);
    set_metadata(out, vocab);
    RandomWeights weights(out);
    weights.declare("token_embd.weight", Format::kQ8_0, kWidth, vocab.tokens.size());  // tied
    weights.declare("output_norm.weight", Format::kF32, kWidth, 1);
    for (uint64_t i = 0; i < kLayers; ++i) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        weights.declare(layer + "attn_norm.weight", Format::kF32, kWidth, 1);
        weights.declare(layer + "attn_q.weight", Format::kQ4_0, kWidth, kWidth);
        weights.declare(layer + "attn_k.weight", Format::kQ4_0, kWidth, kKvWidth);
        weights.declare(layer + "attn_v.weight", Format::kF16, kWidth, kKvWidth);
        weights.declare(layer + "attn_output.weight", Format::kQ4_1, kWidth, kWidth);
        weights.declare(layer + "ffn_norm.weight", Format::kF32, kWidth, 1);
        weights.declare(layer + "ffn_gate.weight", Format::kQ8_0, kWidth, kFfn);
        weights.declare(layer + "ffn_up.weight", Format::kQ8_0, kWidth, kFfn);
        weights.declare(layer + "ffn_down.weight", Format::kQ5_0, kFfn, kWidth);
    }
    weights.write();
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    try {
        write_model(argv[1]);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "tiny_model: %s\n", error.what());
        return 1;
    }
    return 0;
}
