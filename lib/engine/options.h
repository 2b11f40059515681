// What a model and a context can be told.
#pragma once
#include "backend/backend.h"
#include "base/cpu_info.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "cache/cache.h"
#include "engine/budget.h"

#include <cstdint>
#include <optional>
#include <string>

namespace el {

struct ModelOptions {
    std::string device = "auto";  // or what BackendEntry.device says; auto: plan_model() chooses
    bool reference_kernels = false;
    std::optional<Isa> isa;  // caps what the CPU has; throws kUnsupported if it is of another kind of CPU
    bool map = false;        // map the file while it is read
    bool vocabulary_only = false;
    uint64_t budget_bytes = kBudgetAvailable;  // for the model and its contexts
    Log log;
    int32_t (*progress)(void *user, uint64_t done_bytes, uint64_t total_bytes) = nullptr;  // non-zero: kCancelled
    void *progress_user = nullptr;
};

constexpr uint32_t kMaxStopStrings = 16, kMaxStopBytes = 255;

struct ContextOptions {
    uint32_t context_tokens = 0;  // rows of each sequence; 0: the model's
    uint32_t max_sequences = 1;
    uint32_t max_batch_tokens = 512;
    uint32_t max_outputs = 0;  // 0: as many as max_sequences
    Format cache_k = Format::kF16, cache_v = Format::kF16;
    Eviction eviction = Eviction::kNone;
    bool reuse_prefixes = true;
    ThreadPoolOptions threads;
    StreamOptions stream;
};

}  // namespace el
