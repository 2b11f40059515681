// What a backend does: say how weights will lie in memory, take them, compile a program, run steps.
#pragma once
#include "base/arena.h"
#include "base/best_tokens.h"
#include "base/cpu_info.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "program/op.h"

#include <memory>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace el {

struct WeightTensor {
    std::string_view name;
    Format format = Format::kF32;
    uint64_t rows = 0, cols = 0;  // cols is a multiple of the format's block
    uint8_t uses = 0;             // TensorUse bits
};

struct BackendOptions {
    Isa isa = Isa::kScalar;  // the best instruction set to use; only CPU backends look at it
};

struct WeightLayout {
    std::vector<uint64_t> tensor_bytes;  // resident, repacking included
    uint32_t row_granularity = 1;        // rows are given to WeightStore::load in multiples of it
    uint64_t load_extra_bytes = 0;       // beside those, while loading

    uint64_t bytes() const { return std::accumulate(tensor_bytes.begin(), tensor_bytes.end(), uint64_t{0}); }
};

// One model's weights in their final place.
class WeightStore {
  public:
    virtual ~WeightStore() = default;
    // Where rows may be read straight into from the file; NULL when they must go through load().
    virtual std::byte *place(size_t tensor, uint64_t row_begin) = 0;
    // Rows arrive in order; their number is a multiple of WeightLayout::row_granularity, except at the tensor's end.
    virtual void load(size_t tensor, uint64_t row_begin, uint64_t n_rows, const std::byte *rows) = 0;
};

// Of a GPU.
struct StreamOptions {
    void *given = nullptr;  // the caller's (cudaStream_t); NULL: one of its own
    int32_t priority = 0;   // of its own: less is more urgent; clamped to what the device has
};

struct ExecutableLimits {
    StepLimits step;
    Format cache_k = Format::kF16, cache_v = Format::kF16;
    std::vector<uint32_t> n_pages;  // per cache group
    StreamOptions stream;
};

// A part of the memory of an executable, for the memory plan.
struct MemoryRegion {
    std::string device, name;
    uint64_t bytes;
    int32_t cache_group = -1;  // whose rows it holds, and nothing else; -1: none
    bool in_arena = true;      // false: the backend sees to it itself
};

// What is done to keys, values and state between steps. Slots are those of a cache group: page * kPageTokens + row.
class CacheMemory {
  public:
    virtual ~CacheMemory() = default;
    // Keys can be moved to other positions (not if something came after their rope).
    virtual bool can_turn_keys() const noexcept = 0;
    // Rows of all layers of the group, one after the other.
    virtual void copy_rows(uint32_t group, const int32_t *from, const int32_t *to, size_t n) noexcept = 0;
    // Turns keys as if their tokens stood so many positions later.
    virtual void turn_keys(uint32_t group, const int32_t *slots, size_t n, int32_t positions) noexcept = 0;
    virtual void copy_state(int32_t from, int32_t to) noexcept = 0;

    // To save and restore: K and V of all layers of the group, row by row; and bytes [begin, begin + n) of a slot of
    // state, which are those of all layers one after the other.
    virtual size_t row_bytes(uint32_t group) const noexcept = 0;
    virtual void read_rows(uint32_t group, const int32_t *slots, size_t n, std::byte *out) const noexcept = 0;
    virtual void write_rows(uint32_t group, const int32_t *slots, size_t n, const std::byte *in) noexcept = 0;
    virtual size_t state_bytes() const noexcept = 0;
    virtual void read_state(int32_t slot, size_t begin, size_t n, std::byte *out) const noexcept = 0;
    virtual void write_state(int32_t slot, size_t begin, size_t n, const std::byte *in) noexcept = 0;
};

// What a stage of a step took: ops of the program that are done as one.
struct StageTime {
    std::vector<uint32_t> ops;
    double seconds = 0;
};

// What a device does at most.
struct DeviceRates {
    double read_bytes_per_s = 0;    // of its memory
    double matrix_flops_per_s = 0;  // in products of matrices that are near
};

// A compiled program with its activations, cache and logits; used by one thread at a time.
class Executable {
  public:
    virtual ~Executable() = default;
    virtual Status run(const Step &step) noexcept = 0;  // allocates nothing
    // For the next run(): events of the caller (cudaEvent_t) that it waits for before it begins, and records when it is
    // done; NULL: none. Of a backend that has streams.
    virtual void use_events(void * /*wait*/, void * /*done*/) noexcept {}
    virtual const char *error() const noexcept { return ""; }  // why run() failed; empty: there is no more to say
    // [vocab] of an output row of the last step, in host memory until the next step.
    virtual const float *logits(uint32_t row) const noexcept = 0;
    // The n <= kMaxBest best tokens of an output row, or all that there are; they stay until the next call or step.
    // False: not to be had here, logits() tells them.
    virtual bool best(uint32_t /*row*/, size_t /*n*/, BestTokens &) const noexcept { return false; }
    // What went wrong since the last step, as far as is known: logits or the cache are not what they should be. All
    // later steps fail, too. error() says why.
    virtual Status failure() const noexcept { return Status::kOk; }
    virtual CacheMemory &cache() noexcept = 0;
    // From now on run() says what each stage of its step took, and takes longer and may allocate for it; NULL: no more.
    virtual void time_stages(std::vector<StageTime> *) {}
};

class Backend {
  public:
    virtual ~Backend() = default;
    virtual const char *name() const noexcept = 0;
    struct Device {
        std::string description;  // "NVIDIA H200, compute capability 9.0, 132 multiprocessors"
        uint64_t memory_bytes = 0;
        bool own_memory = false;  // that it does not share with the CPU
    };
    virtual Device device() const { return {}; }  // of a backend that is not the CPU's
    // Of the device's memory, once its driver has taken what it needs. Throws where the device cannot be used now.
    virtual uint64_t free_bytes() const { return UINT64_MAX; }
    virtual bool has_streams() const noexcept { return false; }
    // Takes part of a second, and a large piece of the device's memory for as long.
    virtual DeviceRates measure(const BackendOptions &, ThreadPool &) const { return {}; }

    virtual WeightLayout layout(std::span<const WeightTensor> tensors, const BackendOptions &options) const = 0;
    virtual std::unique_ptr<WeightStore> create_store(std::span<const WeightTensor> tensors,
                                                      const BackendOptions &options) const = 0;

    // The memory that compile() will take, region by region. Throws kUnsupported for what it cannot run.
    virtual std::vector<MemoryRegion> memory(const Program &program, const ExecutableLimits &limits,
                                             int n_threads) const = 0;
    // `store`, `arena` and `pool` outlive the executable. The arena has room for memory()'s regions that lie in it.
    virtual std::unique_ptr<Executable> compile(const Program &program, const ExecutableLimits &limits,
                                                const WeightStore &store, Arena &arena, ThreadPool &pool) const = 0;
};

std::unique_ptr<Backend> create_reference_backend();
std::unique_ptr<Backend> create_cpu_backend();
std::unique_ptr<Backend> create_cuda_backend();  // throws kNotFound, with the reason, where there is no GPU to use

}  // namespace el
