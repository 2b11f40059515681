// Tiny models of tests/golden/arch, and ways to run them.
#pragma once
#include "engine/backends.h"
#include "engine/generate.h"
#include "npy.h"

#include <cmath>
#include <doctest/doctest.h>
#include <random>

namespace el {

inline const std::string kGolden = "tests/golden/arch/";

inline void use_backends() {
    static const BackendEntry entries[] = {{"cpu", true, create_reference_backend}, {"cpu", false, create_cpu_backend}};
    set_backends(entries);
}

inline std::shared_ptr<const Model> load(const std::string &name, bool reference = true) {
    use_backends();
    ModelOptions options;
    options.reference_kernels = reference;
    return Model::load(kGolden + name + ".gguf", options);
}

inline ContextOptions exact(uint32_t batch = 48, int threads = 2) {
    ContextOptions options;
    options.max_batch_tokens = options.max_outputs = batch;
    options.cache_k = options.cache_v = Format::kF32;
    options.threads.threads = threads;
    return options;
}

inline std::vector<int32_t> random_tokens(size_t n, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<int32_t> tokens(n);
    for (int32_t &t : tokens) t = int32_t(random() % 128);
    return tokens;
}

inline std::vector<int32_t> part(const std::vector<int32_t> &tokens, size_t begin, size_t end) {
    return {tokens.begin() + std::ptrdiff_t(begin), tokens.begin() + std::ptrdiff_t(end)};
}

// All logits of `tokens` on sequence 0, in steps of `batch`.
inline std::vector<float> all_logits(Context &context, const std::vector<int32_t> &tokens, size_t batch) {
    std::vector<float> out;
    std::vector<uint8_t> wanted(batch, 1);
    for (size_t i = 0; i < tokens.size(); i += batch) {
        Batch b;
        b.tokens = tokens.data() + i;
        b.n = std::min(batch, tokens.size() - i);
        b.outputs = wanted.data();
        Report report;
        REQUIRE_MESSAGE(context.decode(b, report) == Status::kOk, report.text);
        REQUIRE(context.n_outputs() == b.n);
        for (uint32_t r = 0; r < b.n; ++r)
            out.insert(out.end(), context.logits(r), context.logits(r) + context.model().n_vocab());
    }
    return out;
}

inline double relative_error(const std::vector<float> &got, const std::vector<float> &wanted) {
    REQUIRE(got.size() == wanted.size());
    double difference = 0, norm = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        difference += std::pow(double(got[i]) - wanted[i], 2);
        norm += std::pow(double(wanted[i]), 2);
    }
    return std::sqrt(difference / norm);
}

inline Status decode(Context &context, std::vector<int32_t> tokens, std::vector<int32_t> sequences, Report &report) {
    Batch b;
    b.tokens = tokens.data();
    b.sequences = sequences.data();
    b.n = tokens.size();
    return context.decode(b, report);
}

}  // namespace el
