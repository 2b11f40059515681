// Whose memory a model on a GPU takes.
#include "life.h"

#include <doctest/doctest.h>
#include <sys/mman.h>

namespace {

struct Need {
    int64_t on_gpu = -1, budget = -1;
};

// Loads the model; returns what the GPU's blocks take then, -1 where it does not fit.
int64_t load(uint64_t budget) {
    Life life;
    edgellm_model_options how = EDGELLM_MODEL_OPTIONS_INIT;
    how.device = "cuda";
    how.budget_bytes = budget;
    const int64_t before = fake_cuda().live_bytes;
    const bool loaded = life.done(edgellm_model_load(kModelPath, &how, &life.model));
    return loaded ? fake_cuda().live_bytes - before : life.status == EDGELLM_OUT_OF_MEMORY ? -1 : -2;
}

// What the model takes of a GPU that shares its memory, or does not, and the least budget that it fits.
Need need(bool shared) {
    void *const memory = mmap(nullptr, sizeof(Need), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    Need *const found = new (memory) Need;
    CHECK(in_child([&] {
              if (shared) setenv("FAKE_CUDA_INTEGRATED", "1", 1);
              found->on_gpu = load(EDGELLM_BUDGET_AVAILABLE);
              int64_t less = 0, enough = 1 << 30;
              while (enough - less > 1) {
                  const int64_t middle = (less + enough) / 2, got = load(uint64_t(middle));
                  if (got == -2) return 1;
                  (got >= 0 ? enough : less) = middle;
              }
              found->budget = enough;
              return 0;
          }) == 0);
    const Need copy = *found;
    munmap(memory, sizeof(Need));
    return copy;
}

TEST_CASE("the budget holds what a GPU takes of memory that it shares with the CPU, once") {
    const Need own = need(false), shared = need(true);
    CHECK(own.on_gpu > 0);
    CHECK(shared.on_gpu == own.on_gpu);
    // And a part of them on its way, which is given back: the model is never there twice.
    CHECK(shared.budget >= own.budget + own.on_gpu);
    CHECK(shared.budget < own.budget + 2 * own.on_gpu);
}

}  // namespace
