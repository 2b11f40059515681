// What crosses between libedgellm and its CUDA module: two structs of C functions and plain data, no C++ object, no
// exception. Both sides are built together and check it: struct sizes and the build's name must be the same.
#pragma once
#include "base/best_tokens.h"
#include "program/op.h"

#include <cstddef>
#include <cstdint>

namespace el::cuda {

// Functions return a Status as its number; on failure they write a sentence to `error`.
constexpr size_t kErrorBytes = 512;

struct DeviceInfo {
    char name[96];
    uint64_t memory_bytes;
    int32_t compute_capability;  // 87: 8.7
    int32_t n_multiprocessors;
    int32_t integrated;   // 1: memory is shared with the CPU
    int32_t misses_blas;  // 1: prompts would be multiplied by cuBLAS, which is not there
};

struct Tensor {
    const char *name;
    size_t name_bytes;
    Format format;
    uint8_t uses;  // TensorUse bits
    uint64_t rows, cols;
};

struct Region {
    char name[32];
    uint64_t bytes;
    int32_t cache_group;  // -1: none
    int32_t on_host;      // 1: pinned memory of the CPU
};

struct ProgramView {
    const ValueInfo *values;
    const Op *ops;
    const float *constants;
    const CacheLayer *cache_layers;
    const CacheGroup *cache_groups;
    const StateLayer *state_layers;
    size_t n_values, n_ops, n_constants, n_cache_layers, n_cache_groups, n_state_layers;
    uint32_t vocab;
    ValueId logits;
};

struct LimitsView {
    StepLimits step;
    Format cache_k, cache_v;
    const uint32_t *n_pages;  // [n_cache_groups]
    void *stream;             // the caller's; NULL: one of its own
    int32_t priority;         // of its own
};

// The caller's (cudaEvent_t), which a step waits for and records; NULL: none.
struct StepEvents {
    void *wait = nullptr, *done = nullptr;
};

// Ops [begin, end), which a step that is timed has launched as one.
struct StageSpan {
    uint32_t begin, end;
    double seconds;
};

struct Store;
struct Executable;

struct Module {
    uint32_t struct_size;
    const char *build;  // its name

    int32_t (*device_count)(int32_t *n, char *error);
    // Takes nothing of the GPU, and so works whoever else has it.
    int32_t (*device_info)(int32_t device, DeviceInfo *out, char *error);
    int32_t (*free_bytes)(int32_t device, uint64_t *bytes, char *error);

    // What it reads from its memory, and operations of its products of float16 matrices.
    int32_t (*measure)(int32_t device, double *read_bytes_per_s, double *matrix_flops_per_s, char *error);

    // Bytes of each tensor on the device, and those that loading takes beside them. store_load() gets rows in multiples
    // of row_granularity.
    uint32_t row_granularity;
    void (*weight_bytes)(const Tensor *tensors, size_t n, uint64_t *bytes, uint64_t *load_extra_bytes);
    int32_t (*store_create)(int32_t device, const Tensor *tensors, size_t n, Store **out, char *error);
    int32_t (*store_load)(Store *store, size_t tensor, uint64_t row, uint64_t n_rows, const void *rows, char *error);
    void (*store_free)(Store *store);

    // The memory that an executable takes. There is room for `n_room` regions; *n: how many there are.
    int32_t (*executable_memory)(const ProgramView *program, const LimitsView *limits, Region *regions, size_t n_room,
                                 size_t *n, char *error);
    int32_t (*executable_create)(const Store *store, const ProgramView *program, const LimitsView *limits,
                                 Executable **out, char *error);
    int32_t (*executable_run)(Executable *executable, const Step *step, StepEvents events, char *error);
    // The same, timed. `spans` has room for one of each op.
    int32_t (*executable_profile)(Executable *executable, const Step *step, StepEvents events, StageSpan *spans,
                                  size_t *n, char *error);
    // Of a row of the last step, in host memory; NAN where it could not be fetched.
    const float *(*executable_logits)(Executable *executable, uint32_t row);
    // As el::Executable::best(); 1 for true.
    int32_t (*executable_best)(Executable *executable, uint32_t row, size_t n, BestTokens *out);
    // What went wrong in the functions without a status since the last step; all later steps fail, too.
    int32_t (*executable_failure)(const Executable *executable, char *error);
    void (*executable_free)(Executable *executable);

    // As CacheMemory has them.
    int32_t (*can_turn_keys)(const Executable *executable);
    void (*copy_rows)(Executable *executable, uint32_t group, const int32_t *from, const int32_t *to, size_t n);
    void (*turn_keys)(Executable *executable, uint32_t group, const int32_t *slots, size_t n, int32_t positions);
    void (*copy_state)(Executable *executable, int32_t from, int32_t to);
    size_t (*row_bytes)(const Executable *executable, uint32_t group);
    void (*read_rows)(const Executable *executable, uint32_t group, const int32_t *slots, size_t n, void *out);
    void (*write_rows)(Executable *executable, uint32_t group, const int32_t *slots, size_t n, const void *in);
    size_t (*state_bytes)(const Executable *executable);
    void (*read_state)(const Executable *executable, int32_t slot, size_t begin, size_t n, void *out);
    void (*write_state)(Executable *executable, int32_t slot, size_t begin, size_t n, const void *in);
};

// The one symbol of the module. `sizes` are those of the structs that cross, as the caller knows them.
constexpr char kEntryName[] = "edgellm_cuda_module";
struct Sizes {
    uint32_t sizes = sizeof(Sizes), module = sizeof(Module), op = sizeof(Op), step = sizeof(Step),
             limits = sizeof(LimitsView), program = sizeof(ProgramView), tensor = sizeof(Tensor),
             group = sizeof(CacheGroup), value = sizeof(ValueInfo), cache_layer = sizeof(CacheLayer),
             state_layer = sizeof(StateLayer), device = sizeof(DeviceInfo), region = sizeof(Region),
             span = sizeof(StageSpan), events = sizeof(StepEvents), best = sizeof(BestTokens);
};
using Entry = const Module *(*)(const Sizes *sizes);  // NULL if they differ

}  // namespace el::cuda
