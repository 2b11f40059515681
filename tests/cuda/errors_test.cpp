// What becomes of a process whose GPU has no memory left, or is lost: statuses with sentences, nothing kept, no crash.
#include "../api/allocations.h"
#include "life.h"

#include <algorithm>
#include <cmath>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <utility>

extern unsigned skipped_cases;

namespace {

constexpr int64_t kSmall = 256 << 20;  // a GPU of which half is soon written

// A life whose device is lost at call `k`. Returns 0; 1 if it ended before that call; else the number of the line that
// is not as it should be.
int lose_at(int64_t k) {
#define WANT(condition)                                                                                                \
    if (!(condition)) return std::fprintf(stderr, "%s (%s, %d)\n", #condition, life.error, life.status), __LINE__
    FakeCuda &fake = fake_cuda();
    fake.total_bytes = kSmall;
    Life life, other, cpu("cpu"), late;
    WANT(cpu.load() && cpu.create());
    const std::vector<float> wanted = cpu.logits();
    WANT(other.load() && other.create() && other.decode(3));
    fake.calls = 0;
    fake.lose_at = k;
    const bool ran = life.run() && life.time();
    if (!fake.lost) return ran ? 1 : __LINE__;
    WANT(!ran || !life.decode(1));  // while something is freed nobody looks
    WANT(life.status == EDGELLM_DEVICE_LOST);
    WANT(contains(life.error, "start it again"));
    if (life.context) {
        WANT(!life.decode(1));
        WANT(life.status == EDGELLM_DEVICE_LOST);
    }
    WANT(!other.decode(1));
    WANT(other.status == EDGELLM_DEVICE_LOST);
    WANT(contains(other.error, "start it again"));
    WANT(edgellm_sequence_fork(other.context, 0, 1) == EDGELLM_DEVICE_LOST);
    WANT(!late.load());
    WANT(late.status == EDGELLM_DEVICE_LOST);
    WANT(edgellm_sequence_remove(cpu.context, 0, 0, -1) == EDGELLM_OK);
    WANT(cpu.logits() == wanted);
    life.free();
    other.free();
    late.free();
    WANT(fake.live_handles == 0);
    WANT(fake.live_bytes == 0);
    return 0;
#undef WANT
}

// Kernels that were started one by one, not as a graph.
auto n_launches() {
    const FakeCuda &fake = fake_cuda();
    return std::count_if(fake.record, fake.record + fake.n_recorded, [](const FakeCuda::Call &call) {
        return std::string_view(call.name).find("cudaLaunchKernel") == 0;
    });
}

// The n best tokens of row 0, as kernels leave them on a GPU.
void leave_best(int32_t n) {
    struct RowBest {  // as in ops/select.h
        int32_t n;
        float sum;
        int32_t ids[256];
        float logits[256];
    } &best = *static_cast<RowBest *>(fake_cuda().pinned);
    best.n = n;
    best.sum = 2;
    for (int32_t i = 0; i < n; ++i) best.ids[i] = i, best.logits[i] = float(-i);
}

}  // namespace

TEST_CASE("a model and a context live on the fake GPU and leave nothing behind") {
    FakeCuda &fake = fake_cuda();
    {
        Life life;
        REQUIRE_MESSAGE(life.run(), std::string(life.error));
        CHECK(fake.live_bytes > 0);
        CHECK(fake.live_handles > 5);
    }
    CHECK(fake.live_handles == 0);
    CHECK(fake.live_bytes == 0);
}

TEST_CASE("auto is the GPU, unless something speaks for the CPU") {
    FakeCuda &fake = fake_cuda();
    auto device_of = [](edgellm_model_options how, std::string *said = nullptr) {
        how.log_user = said;
        how.log = [](void *user, edgellm_log_level, const char *text) {
            if (user) *static_cast<std::string *>(user) += text;
        };
        edgellm_model *model = nullptr;
        REQUIRE(edgellm_model_load(kModelPath, &how, &model) == EDGELLM_OK);
        edgellm_model_info info = EDGELLM_MODEL_INFO_INIT;
        REQUIRE(edgellm_model_get_info(model, &info) == EDGELLM_OK);
        edgellm_model_free(model);
        return std::string(info.device);
    };
    const edgellm_model_options any = EDGELLM_MODEL_OPTIONS_INIT;
    edgellm_model_options how = any;
    setenv("EDGELLM_DEVICE", "cpu", 1);
    CHECK(device_of(any) == "cpu");
    how.device = "cuda";
    CHECK(device_of(how) == "cuda");
    unsetenv("EDGELLM_DEVICE");
    CHECK(device_of(any) == "cuda");
    how.device = "auto";
    CHECK(device_of(how) == "cuda");
    how.kernels = EDGELLM_KERNELS_REFERENCE;
    CHECK(device_of(how) == "cpu");
    how = any;
    how.isa = "scalar";
    CHECK(device_of(how) == "cpu");

    const int64_t total = fake.total_bytes;
    fake.total_bytes = 1000;
    std::string said;
    CHECK(device_of(any, &said) == "cpu");
    CHECK_MESSAGE(contains(said.c_str(), "bytes, of which it has 1000 free"), said);
    fake.total_bytes = total;
    setenv("EDGELLM_DEVICE", "cpu", 1);
}

TEST_CASE("the memory plan is what a model and a context take") {
    FakeCuda &fake = fake_cuda();
    Life life;
    REQUIRE(life.load());
    const int64_t weights = fake.live_bytes;
    REQUIRE(life.create());
    edgellm_model_options how = EDGELLM_MODEL_OPTIONS_INIT;
    how.device = "cuda";
    edgellm_memory_plan *plan = nullptr;
    REQUIRE(edgellm_memory_plan_create(kModelPath, &how, &life.options, &plan) == EDGELLM_OK);
    int64_t planned_weights = 0, planned_context = 0, context_everywhere = 0;
    bool context = false;
    for (size_t i = 0;; ++i) {
        edgellm_memory_region region = EDGELLM_MEMORY_REGION_INIT;
        if (edgellm_memory_plan_get_region(plan, i, &region) != EDGELLM_OK) break;
        const bool gpu = region.device == std::string("cuda") && region.name != std::string("cuBLAS");
        context |= region.name == std::string("cache tables");
        if (context) context_everywhere += int64_t(region.bytes);
        if (region.flags & EDGELLM_MEMORY_LOAD_ONLY || !(gpu || contains(region.name, "pinned"))) continue;
        (context ? planned_context : planned_weights) += int64_t(region.bytes);
    }
    edgellm_memory_plan_free(plan);
    CHECK(weights == planned_weights);
    CHECK(fake.live_bytes - weights == planned_context);
    edgellm_context_info info = EDGELLM_CONTEXT_INFO_INIT;
    REQUIRE(edgellm_context_get_info(life.context, &info) == EDGELLM_OK);
    CHECK(int64_t(info.memory_bytes) == context_everywhere);
}

TEST_CASE("any allocation on the GPU may fail") {
    FakeCuda &fake = fake_cuda();
    const char *blas = std::getenv("FAKE_CUDA_BLAS");
    bool blas_failed = false;
    int64_t k = 0;
    for (;; ++k) {
        CAPTURE(k);
        fail_allocation(k);
        Life life;
        const bool loaded = life.load(), ran = loaded && life.create() && life.use();
        fake.fail_allocation_at = -1;
        if (!fake.refused) {
            CHECK(ran);
            break;
        }
        REQUIRE(!ran);
        INFO(std::string(life.error));
        REQUIRE(life.status == EDGELLM_OUT_OF_MEMORY);
        REQUIRE(contains(life.error, " MiB"));
        REQUIRE(contains(life.error, "free"));
        REQUIRE(life.context == nullptr);
        blas_failed |= contains(life.error, "starting cuBLAS: cuBLAS takes about") &&
                       contains(life.error, "EDGELLM_CUDA_PREFILL=fused");
        // What was there before works on, and another try succeeds.
        if (!loaded) {
            REQUIRE(fake.live_handles == 0);
            REQUIRE(life.load());
        }
        REQUIRE(life.create());
        REQUIRE(life.use());
        life.free();
        REQUIRE(fake.live_handles == 0);
        REQUIRE(fake.live_bytes == 0);
    }
    CHECK(k > 10);
    CHECK(blas_failed == !(blas && std::string_view(blas) == "absent"));
}

TEST_CASE("what times a step and measures the GPU may find no memory, and leaves a context as it is") {
    FakeCuda &fake = fake_cuda();
    const int64_t total = std::exchange(fake.total_bytes, kSmall);
    Life life;
    REQUIRE(life.run());
    const int64_t handles = fake.live_handles, bytes = fake.live_bytes;
    int64_t k = 0;
    for (;; ++k) {
        CAPTURE(k);
        fail_allocation(k);
        const bool ran = life.time();
        fake.fail_allocation_at = -1;
        REQUIRE(fake.live_handles == handles);
        REQUIRE(fake.live_bytes == bytes);
        REQUIRE(ran == !fake.refused);
        if (ran) break;
        REQUIRE(life.status == EDGELLM_OUT_OF_MEMORY);
        REQUIRE(contains(life.error, " MiB"));
        REQUIRE(contains(life.error, "free"));
        REQUIRE(edgellm_sequence_remove(life.context, 0, 0, -1) == EDGELLM_OK);
        REQUIRE(life.use());
    }
    CHECK(k > 20);
    fake.total_bytes = total;
}

TEST_CASE("a failed allocation of memory says what was needed") {
    FakeCuda &fake = fake_cuda();
    Life life;
    fake.allocations = 0;
    fake.fail_allocation_at = 0;
    CHECK(!life.load());
    fake.fail_allocation_at = -1;
    CHECK(contains(life.error, "the model's weights: needs 0."));
    CHECK(contains(life.error, "of which 8192.0 MiB are free"));
    REQUIRE(life.load());
    bool device = false, host = false;
    for (int64_t k = 0; k < 6; ++k) {
        fail_allocation(k);
        CHECK(!life.create());
        device |= contains(life.error, "a context: needs ") && contains(life.error, " MiB on the GPU, of which ");
        host |= contains(life.error, " MiB of the CPU's memory, pinned, of which ");
    }
    fake.fail_allocation_at = -1;
    CHECK(device);
    CHECK(host);
}

TEST_CASE("what does not fit the GPU is refused before anything is allocated, and the plan says so") {
    FakeCuda &fake = fake_cuda();
    auto plan = [](const edgellm_context_options &options) {
        edgellm_model_options how = EDGELLM_MODEL_OPTIONS_INIT;
        how.device = "cuda";
        edgellm_memory_plan *plan = nullptr;
        edgellm_memory_summary summary = EDGELLM_MEMORY_SUMMARY_INIT;
        REQUIRE(edgellm_memory_plan_create(kModelPath, &how, &options, &plan) == EDGELLM_OK);
        REQUIRE(edgellm_memory_plan_get_summary(plan, &summary) == EDGELLM_OK);
        edgellm_memory_plan_free(plan);
        return summary;
    };
    Life life;
    CHECK(plan(life.options).flags == EDGELLM_MEMORY_FITS);
    CHECK(plan(life.options).max_context_tokens == 128);
    const int64_t all = fake.total_bytes, allocations = fake.allocations;
    fake.total_bytes = 50'000;
    CHECK(plan(life.options).flags == 0);
    CHECK(plan(life.options).max_context_tokens == 0);
    CHECK(!life.load());
    CHECK(life.status == EDGELLM_OUT_OF_MEMORY);
    CHECK(contains(life.error, "the model needs 0.1 MB on the device 'cuda', of which 0.1 MB are free"));
    CHECK(contains(life.error, "'weights Q"));
    CHECK(fake.allocations == allocations);
    fake.total_bytes = all;
    REQUIRE(life.load());

    // So much that half of the cache has room.
    const int64_t loaded = fake.live_bytes;
    REQUIRE(life.create());
    const int64_t context = fake.live_bytes - loaded;
    edgellm_context_free(life.context);
    edgellm_sampler_free(life.sampler);
    life.context = nullptr;
    life.sampler = nullptr;
    const bool blas = plan(life.options).total_bytes > 60u << 20;
    fake.total_bytes = loaded + context + (blas ? 66 << 20 : 0) - 20'000;
    CHECK(!life.create());
    CHECK(life.status == EDGELLM_OUT_OF_MEMORY);
    INFO(std::string(life.error));
    CHECK(contains(life.error, " MB on the device 'cuda', of which "));
    CHECK(contains(life.error, "context_tokens of "));
    CHECK(fake.live_bytes == loaded);
    fake.total_bytes = all;
    CHECK(life.create());
}

TEST_CASE("a GPU may be lost at any call") {
    int64_t k = 0;
    int result = 0;
    // Most calls are launches, and most of those alike.
    for (; result == 0; k += 1 + k / 24) {
        CAPTURE(k);
        result = in_child([&] { return lose_at(k); });
        REQUIRE(result <= 1);
    }
    CHECK(k > 300);
}

TEST_CASE("of many rows of logits those that are asked for are copied, each once, and bad copies are no results") {
    CHECK(in_child([] {
              constexpr size_t kRows = 6;
              FakeCuda &fake = fake_cuda();
              Life life;
              life.options.max_outputs = kRows;
              const edgellm_token tokens[kRows] = {1, 2, 3, 4, 5, 6};
              const uint8_t outputs[kRows] = {1, 1, 1, 1, 1, 1};
              edgellm_batch batch = EDGELLM_BATCH_INIT;
              batch.n_tokens = kRows;
              batch.tokens = tokens;
              batch.outputs = outputs;
              const float *logits = nullptr;
              size_t n = 0;
              auto get = [&](size_t row) { return edgellm_context_get_logits(life.context, row, &logits, &n); };
              if (!life.load() || !life.create()) return __LINE__;
              for (int step = 0; step < 2; ++step) {
                  if (edgellm_context_decode(life.context, &batch, nullptr, nullptr) != EDGELLM_OK) return __LINE__;
                  fake.copied_bytes = 0;
                  for (size_t row : {4, 1, 4})
                      if (get(row) != EDGELLM_OK || std::isnan(logits[0])) return __LINE__;
                  if (fake.copied_bytes != int64_t(2 * n * sizeof(float))) return __LINE__;
              }
              fake.lose_device();
              if (get(0) != EDGELLM_DEVICE_LOST || !std::isnan(logits[0]) || !std::isnan(logits[n - 1]))
                  return __LINE__;
              return 0;
          }) == 0);
}

TEST_CASE("tokens are chosen without a row of logits on the host, where it comes for those who ask") {
    FakeCuda &fake = fake_cuda();
    for (const auto &[temperature, n_best] : {std::pair(0.0f, 1), std::pair(0.8f, 40)}) {
        CAPTURE(temperature);
        Life life;
        life.sampling.temperature = temperature;
        fake.copied_bytes = 0;
        REQUIRE(life.load());
        REQUIRE(life.create());
        leave_best(n_best);
        REQUIRE_MESSAGE(life.generate(20), std::string(life.error));
        const int64_t copied = fake.copied_bytes;
        CHECK(copied < life.fetch_row());
    }
}

TEST_CASE("a lost GPU costs the process no memory of its own") {
    if (!allocations::kAvailable) {
        std::fprintf(stderr, "skipped: the sanitizer has its own malloc\n");
        ++skipped_cases;
        return;
    }
    CHECK(in_child([] {
              FakeCuda &fake = fake_cuda();
              {
                  Life once;  // what is made once per process is there now
                  if (!once.run()) return __LINE__;
              }
              const int64_t before = allocations::live();
              {
                  Life life, other;
                  if (!other.load() || !other.create()) return __LINE__;
                  fake.calls = 0;
                  fake.lose_at = 400;
                  if (life.run() || life.status != EDGELLM_DEVICE_LOST) return __LINE__;
                  if (other.decode(1)) return __LINE__;
              }
              return allocations::live() == before ? 0 : __LINE__;
          }) == 0);
}

TEST_CASE("each bucket of few tokens is captured once") {
    FakeCuda &fake = fake_cuda();
    Life life;
    REQUIRE(life.load());
    fake.captures = fake.instantiations = 0;
    REQUIRE(life.create());
    CHECK(fake.instantiations == 4);  // 1, 2, 4 and 8 tokens
    const int64_t captures = fake.captures;
    REQUIRE(life.use());
    CHECK(fake.captures == captures);
    CHECK(fake.instantiations == 4);
}

TEST_CASE("contexts with steps of fewer than 8 tokens have a graph for each") {
    FakeCuda &fake = fake_cuda();
    for (const auto &[most, graphs] : {std::pair(1, 1), std::pair(2, 2), std::pair(3, 3), std::pair(6, 4)}) {
        Life life;
        life.options.max_batch_tokens = most;
        REQUIRE(life.load());
        fake.instantiations = 0;
        REQUIRE(life.create());
        CHECK(fake.instantiations == graphs);
        for (int32_t n = 1; n <= most; ++n) {
            fake.n_recorded = 0;
            REQUIRE(life.decode(n));
            CHECK(n_launches() == 0);
        }
    }
}

TEST_CASE("steps of few tokens of any sequences are captured for recurrent models, too") {
    FakeCuda &fake = fake_cuda();
    for (const char *name : {"lfm2", "qwen35", "granite-hybrid-moe"}) {
        CAPTURE(name);
        Life life;
        life.path = std::string(ARCH_FOLDER) + name + ".gguf";
        life.options.max_sequences = 6;
        REQUIRE(life.load());
        fake.instantiations = 0;
        REQUIRE_MESSAGE(life.create(), std::string(life.error));
        CHECK(fake.instantiations == 4);
        const int64_t allocations = fake.allocations;
        for (int32_t n = 1; n <= 9; ++n)
            for (int32_t n_sequences = 1; n_sequences <= std::min(n, 6); ++n_sequences) {
                fake.n_recorded = 0;
                REQUIRE_MESSAGE(life.decode(n, 0, nullptr, n_sequences), std::string(life.error));
                CHECK((n_launches() == 0) == (n <= 8));
                for (int32_t s = 0; s < n_sequences; ++s)
                    REQUIRE(edgellm_sequence_remove(life.context, s, 0, -1) == EDGELLM_OK);
            }
        CHECK(fake.allocations == allocations);
    }
}

TEST_CASE("10,000 steps allocate and capture nothing") {
    FakeCuda &fake = fake_cuda();
    Life life;
    life.options.cache_policy = EDGELLM_CACHE_SINKS;
    REQUIRE(life.load());
    REQUIRE(life.create());
    REQUIRE(life.decode(Life::kPrompt));
    const FakeCuda before = fake;
    int32_t failures = 0;
    if (allocations::kAvailable) allocations::arm(allocations::kNever, allocations::Mode::kOnce);
    for (int32_t i = 0; i < 10'000; ++i) {
        failures += !life.decode(1);
        float logprob = 0;
        failures += edgellm_context_get_logprob(life.context, 0, 3, &logprob) != EDGELLM_OK;
    }
    const int64_t made = allocations::kAvailable ? allocations::made() : 0;
    CHECK(failures == 0);
    CHECK(made == 0);
    CHECK(fake.allocations == before.allocations);
    CHECK(fake.captures == before.captures);
    CHECK(fake.live_bytes == before.live_bytes);
    CHECK(fake.live_handles == before.live_handles);
    CHECK(fake.calls > before.calls + 30'000);
}

TEST_CASE("without a driver or a GPU the reason is told, and the CPU works") {
    for (const auto &[error, reason] :
         {std::pair("35", "no NVIDIA driver, or it is too old"), std::pair("100", "the driver knows no GPU")}) {
        fake_cuda();
        setenv("FAKE_CUDA_NO_DEVICE", error, 1);
        Life life, cpu("cpu");
        size_t n = 0;
        CHECK(edgellm_device_count(&n) == EDGELLM_OK);
        CHECK(n == 1);
        CHECK(!life.load());
        CHECK(life.status == EDGELLM_NOT_FOUND);
        INFO(std::string(life.error));
        CHECK(contains(life.error, reason));
        CHECK(cpu.run());
        unsetenv("FAKE_CUDA_NO_DEVICE");
    }
}

TEST_CASE("a GPU that the module has no code for is not used, and the reason told") {
    fake_cuda();
    setenv("FAKE_CUDA_NO_IMAGE", "1", 1);
    for (const auto &[capability, reason] :
         {std::pair("88", "no code for the GPU, of compute capability 8.8: build it with -Dgpu_arch=88"),
          std::pair("75", "compute capability 7.5; it must be 8.0 or later")}) {
        setenv("FAKE_CUDA_CAPABILITY", capability, 1);
        unsetenv("EDGELLM_DEVICE");
        Life life, any("auto");
        size_t n = 0;
        CHECK(edgellm_device_count(&n) == EDGELLM_OK);
        CHECK(n == 1);
        CHECK(!life.load());
        CHECK(life.status == EDGELLM_UNSUPPORTED);
        CHECK_MESSAGE(contains(life.error, reason), std::string(life.error));
        CHECK(any.run());  // on the CPU
        unsetenv("FAKE_CUDA_CAPABILITY");
        setenv("EDGELLM_DEVICE", "cpu", 1);
    }
    unsetenv("FAKE_CUDA_NO_IMAGE");
}
