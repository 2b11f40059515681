// Files in every weight format through the whole engine: fast kernels against the reference.
#include "../random_weights.h"
#include "engine/backends.h"
#include "engine/context.h"
#include "engine/model.h"

#include <cmath>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>

using namespace el;

namespace {

constexpr uint32_t kWidth = 256, kFfn = 512, kHeads = 8, kKvHeads = 4, kVocab = 60;

struct Folder {
    std::string path = (std::filesystem::temp_directory_path() / "formats_test_XXXXXX").string();
    Folder() { REQUIRE(mkdtemp(path.data()) != nullptr); }
    ~Folder() { std::filesystem::remove_all(path); }
};

// Matrix after matrix takes the next of the formats.
void write_model(const std::string &path, uint32_t layers, std::span<const Format> formats) {
    GgufWriter out(path);
    out.set("general.architecture", "llama");
    out.set("llama.vocab_size", kVocab);
    out.set("llama.context_length", 64u);
    out.set("llama.embedding_length", kWidth);
    out.set("llama.block_count", layers);
    out.set("llama.feed_forward_length", kFfn);
    out.set("llama.attention.head_count", kHeads);
    out.set("llama.attention.head_count_kv", kKvHeads);
    out.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    out.set("tokenizer.ggml.model", "none");
    RandomWeights weights(out, 0.1f);
    size_t next = 0;
    auto matrix = [&](const std::string &name, uint32_t cols, uint32_t rows) {
        weights.declare(name + ".weight", formats[next++ % formats.size()], cols, rows);
    };
    matrix("token_embd", kWidth, kVocab);
    matrix("output", kWidth, kVocab);
    weights.declare("output_norm.weight", Format::kF32, kWidth, 1);
    for (uint32_t i = 0; i < layers; i++) {
        const std::string layer = "blk." + std::to_string(i) + ".";
        weights.declare(layer + "attn_norm.weight", Format::kF32, kWidth, 1);
        weights.declare(layer + "ffn_norm.weight", Format::kF32, kWidth, 1);
        matrix(layer + "attn_q", kWidth, kWidth);
        matrix(layer + "attn_k", kWidth, kWidth / kHeads * kKvHeads);
        matrix(layer + "attn_v", kWidth, kWidth / kHeads * kKvHeads);
        matrix(layer + "attn_output", kWidth, kWidth);
        matrix(layer + "ffn_gate", kWidth, kFfn);
        matrix(layer + "ffn_up", kWidth, kFfn);
        matrix(layer + "ffn_down", kFfn, kWidth);
    }
    weights.write();
}

std::vector<float> logits(const std::string &path, bool reference) {
    static const BackendEntry entries[] = {{"cpu", true, create_reference_backend}, {"cpu", false, create_cpu_backend}};
    set_backends(entries);
    ModelOptions model_options;
    model_options.reference_kernels = reference;
    ContextOptions options;
    options.max_outputs = 1;
    options.threads.threads = 2;
    options.cache_k = options.cache_v = Format::kF32;
    Context context(Model::load(path, model_options), options);
    std::vector<float> all;
    // A prompt, then single tokens.
    for (const std::vector<int32_t> &tokens : {std::vector<int32_t>{1, 5, 9, 2, 7, 33, 59, 4, 0, 18, 21}, {3}, {8}}) {
        Batch batch;
        batch.tokens = tokens.data();
        batch.n = tokens.size();
        Report report;
        REQUIRE_MESSAGE(context.decode(batch, report) == Status::kOk, report.text);
        all.insert(all.end(), context.logits(0), context.logits(0) + kVocab);
    }
    return all;
}

void check_model(const std::string &path, double tolerance) {
    const std::vector<float> expected = logits(path, true), got = logits(path, false);
    double error = 0, size = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        error += std::pow(double(got[i]) - expected[i], 2);
        size += std::pow(double(expected[i]), 2);
    }
    CHECK(size > 0);
    CHECK(std::sqrt(error / size) < tolerance);
}

}  // namespace

TEST_CASE("a model in each format gives nearly the same with fast kernels") {
    Folder folder;
    for_each_format([&]<class F>(std::type_identity<F>) {
        INFO(std::string(F::kName));
        const Format format = F::kFormat;
        const std::string path = folder.path + "/" + F::kName + ".gguf";
        write_model(path, 1, {&format, 1});
        check_model(path, F::kValues == 1 ? 1e-4 : 3e-2);
    });
}

TEST_CASE("a model may have another format in each tensor") {
    Folder folder;
    std::vector<Format> formats;
    for_each_format([&]<class F>(std::type_identity<F>) { formats.push_back(F::kFormat); });
    const uint32_t layers = 4;
    REQUIRE(formats.size() <= 2 + 7 * layers);
    write_model(folder.path + "/mixed.gguf", layers, formats);
    check_model(folder.path + "/mixed.gguf", 3e-2);
}
