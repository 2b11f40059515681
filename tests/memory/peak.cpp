// peak MODEL CONTEXT_TOKENS: loads a model, creates a context, works off a prompt and some tokens, and prints by how
// much the process' peak grew while loading and in all, next to what the memory plan says: one line of JSON.
#include <edgellm/edgellm.hpp>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

// The most memory that the process has ever had, in bytes.
int64_t peak_bytes() {
    FILE *file = std::fopen("/proc/self/status", "re");
    char line[256];
    int64_t kilobytes = -1;
    while (file && std::fgets(line, sizeof line, file))
        if (std::sscanf(line, "VmHWM: %" SCNd64, &kilobytes) == 1) break;
    if (file) std::fclose(file);
    return kilobytes * 1024;
}

void use(edgellm::Context &context, int32_t n_vocab) {
    const edgellm_context_info info = context.info();
    std::vector<edgellm::Token> prompt(static_cast<size_t>(std::min(info.max_batch_tokens, info.context_tokens - 8)));
    for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<edgellm::Token>(i * 7919 % size_t(n_vocab));
    edgellm_batch batch = EDGELLM_BATCH_INIT;
    batch.n_tokens = static_cast<int32_t>(prompt.size());
    batch.tokens = prompt.data();
    context.decode(batch);
    batch.n_tokens = 1;
    for (int i = 0; i < 4; ++i) context.decode(batch);
}

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 3) return 2;
    edgellm::ContextOptions options;
    options.context_tokens = std::atoi(argv[2]);
    options.n_threads = 2;
    const int64_t before = peak_bytes();
    int64_t loaded = 0, used = 0;
    uint64_t weights = 0;
    {
        edgellm::Model model(argv[1]);
        loaded = peak_bytes() - before;
        edgellm::Context context(model, options);
        use(context, model.info().n_vocab);
        used = peak_bytes() - before;
        weights = model.info().weight_bytes;
    }
    const edgellm_memory_summary plan = edgellm::MemoryPlan(argv[1], {}, options).summary();
    std::printf("{\"loaded\": %" PRId64 ", \"used\": %" PRId64 ", \"weights\": %" PRIu64 ", \"planned_load\": %" PRIu64
                ", \"planned\": %" PRIu64 "}\n",
                loaded, used, weights, plan.load_peak_bytes, std::max(plan.resident_bytes, plan.load_peak_bytes));
    return 0;
} catch (const std::exception &error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
}
