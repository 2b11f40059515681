// On a GPU: models of every architecture, whose logits their original implementations gave.
#include "gpu.h"

#include "../unit/npy.h"

#include <cmath>
#include <doctest/doctest.h>
#include <edgellm/edgellm.hpp>
#include <filesystem>
#include <span>

namespace {

const std::filesystem::path kRecorded = path_of("EDGELLM_TEST_RECORDED", ARCH_FOLDER);

// In steps of at most `batch` tokens; relative, as one vector.
double error(const std::string &name, size_t batch) {
    const std::string base = kRecorded / name;
    const auto tokens = read_npy<int32_t>(base + ".tokens.npy");
    const auto wanted = read_npy<float>(base + ".npy");
    edgellm::ModelOptions on_gpu;
    on_gpu.device = "cuda";
    const edgellm::Model model(base + ".gguf", on_gpu);
    edgellm::ContextOptions options;
    options.context_tokens = options.max_batch_tokens = options.max_outputs = int32_t(tokens.size());
    edgellm::Context context(model, options);
    const std::vector<uint8_t> all(batch, 1);
    double difference = 0, norm = 0;
    size_t at = 0;
    for (size_t begin = 0; begin < tokens.size(); begin += batch) {
        edgellm_batch step = EDGELLM_BATCH_INIT;
        step.n_tokens = int32_t(std::min(batch, tokens.size() - begin));
        step.tokens = tokens.data() + begin;
        step.outputs = all.data();
        context.decode(step);
        for (int32_t t = 0; t < step.n_tokens; ++t)
            for (float got : context.logits(t)) {
                const double is = wanted.at(at++);
                difference += (got - is) * (got - is);
                norm += is * is;
            }
    }
    return at == wanted.size() ? std::sqrt(difference / norm) : NAN;
}

int compare() {
    int n = 0, wrong = 0;
    for (const auto &entry : std::filesystem::directory_iterator(kRecorded)) {
        if (entry.path().extension() != ".gguf") continue;
        ++n;
        for (size_t batch : {48, 1, 7})
            if (const double e = error(entry.path().stem(), batch); !(e < 2e-2)) {
                ++wrong;
                std::fprintf(stderr, "%s, %zu at a time: off by %g\n", entry.path().stem().c_str(), batch, e);
            }
    }
    return n >= 32 && wrong == 0 ? 0 : 1;
}

TEST_CASE("models of every architecture give their originals' logits") { on_gpu(compare); }

}  // namespace
