// The contexts whose saved sequences are fuzzed: full, with sinks, with windows, with recurrent state.
#pragma once
#include "engine/backends.h"
#include "engine/state.h"

#include <cstdlib>
#include <random>

namespace el {

inline void check(bool ok) {
    if (!ok) std::abort();
}

inline std::vector<std::unique_ptr<Context>> state_contexts(uint32_t context_tokens = 128) {
    static constexpr BackendEntry kEntries[] = {{"cpu", true, create_reference_backend}};
    set_backends(kEntries);
    std::vector<std::unique_ptr<Context>> contexts;
    for (auto [name, eviction] : {std::pair("llama", Eviction::kNone), std::pair("llama", Eviction::kSinks),
                                  std::pair("gemma3", Eviction::kNone), std::pair("lfm2", Eviction::kNone)}) {
        ModelOptions model;
        model.reference_kernels = true;
        ContextOptions options;
        options.context_tokens = context_tokens;
        options.max_sequences = 2;
        options.max_batch_tokens = 16;
        options.eviction = eviction;
        options.threads.threads = 1;
        contexts.push_back(
            std::make_unique<Context>(Model::load(std::string(ARCH_FOLDER "/") + name + ".gguf", model), options));
    }
    return contexts;
}

inline void feed(Context &context, int32_t sequence, size_t n) {
    std::minstd_rand random(uint32_t(n) + 1);
    for (size_t i = 0; i < n; ++i) {
        const int32_t token = int32_t(random() % 128);
        Batch batch;
        batch.tokens = &token;
        batch.n = 1;
        batch.sequence = sequence;
        Report report;
        check(context.decode(batch, report) == Status::kOk);
    }
}

inline std::vector<std::byte> saved(Context &context, uint32_t sequence) {
    SequenceState state(context, sequence);
    std::vector<std::byte> bytes(state.bytes());
    Report report;
    check(state.save_buffer(bytes.data(), bytes.size(), nullptr, report) == Status::kOk);
    return bytes;
}

}  // namespace el
