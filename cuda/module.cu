// The module's one symbol, and the guard that turns exceptions into statuses.
#include "backend/cuda/build_id.h"
#include "executable.h"
#include "measure.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <new>

namespace el::cuda {
namespace {

// GPUs that this process has lost. Whoever finds it out tells all others: a driver may be slow to, or hang.
constexpr int32_t kMaxDevices = 64;
std::atomic<bool> lost_devices[kMaxDevices];
std::atomic<bool> &is_lost(int32_t device) { return lost_devices[std::min(device, kMaxDevices - 1)]; }

// The caller's choice of a GPU, which is a thread's, is as before when this ends. What goes wrong in between is found
// by what comes next.
class OnDevice {
  public:
    explicit OnDevice(int32_t device) : device_(device) {
        if (lost()) return;
        if (cudaGetDevice(&before_) != cudaSuccess) before_ = -1;
        cudaSetDevice(device);
    }
    OnDevice(const OnDevice &) = delete;
    ~OnDevice() {
        if (before_ >= 0 && cudaSetDevice(before_) != cudaSuccess) cudaGetLastError();  // for what comes later
    }
    std::atomic<bool> &lost() const { return is_lost(device_); }

  private:
    int32_t device_;
    int before_ = -1;
};

template <typename Function> int32_t guard(std::atomic<bool> &lost, char *error, Function function) {
    try {
        if (lost) throw Failure(kDeviceLost, "%s", kLostAdvice);
        function();
        return kOk;
    } catch (const Failure &failure) {
        std::snprintf(error, kErrorBytes, "%s", failure.what());
        if (failure.status() == kDeviceLost) lost = true;
        return failure.status();
    } catch (const std::bad_alloc &) {
        std::snprintf(error, kErrorBytes, "out of memory");
        return kOutOfMemory;
    } catch (...) {
        std::snprintf(error, kErrorBytes, "an unexpected error in the CUDA module");
        return kInternal;
    }
}

// For what has no status: executable_failure() has it, and all later steps fail.
template <typename Function> void between_steps(const Executable *executable, Function function) {
    Executable &e = const_cast<Executable &>(*executable);
    const OnDevice on(e.store.device);
    if (e.broken_status != kOk) return;
    e.broken_status = guard(on.lost(), e.broken, [&] { function(e); });
}

__global__ void no_kernel() {}

// Throws where the module has no code for the GPU. Asking the driver takes memory of the GPU, so it is not asked where
// the answer is known.
void check_code(int32_t device) {
    constexpr int kCompiled[] = {__CUDA_ARCH_LIST__};
    const int major = device_attribute(cudaDevAttrComputeCapabilityMajor, device),
              minor = device_attribute(cudaDevAttrComputeCapabilityMinor, device);
    const int capability = 10 * major + minor;
    if (std::find(std::begin(kCompiled), std::end(kCompiled), 10 * capability) != std::end(kCompiled)) return;
    if (capability < 80)
        throw Failure(kUnsupported, "the GPU has compute capability %d.%d; it must be 8.0 or later", major, minor);
    const OnDevice on(device);
    cudaFuncAttributes attributes;
    const cudaError_t result = cudaFuncGetAttributes(&attributes, no_kernel);
    cudaGetLastError();  // for what comes later, which also says whatever else is wrong
    if (result != cudaErrorNoKernelImageForDevice && result != cudaErrorInvalidDeviceFunction) return;
    throw Failure(kUnsupported,
                  "the CUDA module has no code for the GPU, of compute capability %d.%d: build it with -Dgpu_arch=%d",
                  major, minor, capability);
}

int32_t device_count(int32_t *n, char *error) {
    return guard(is_lost(0), error, [&] {
        const cudaError_t result = cudaGetDeviceCount(n);
        cudaGetLastError();  // for what comes later
        if (result == cudaErrorInsufficientDriver)
            throw Failure(kNotFound, "there is no NVIDIA driver, or it is too old for CUDA %d.%d: install a newer one",
                          CUDART_VERSION / 1000, CUDART_VERSION / 10 % 100);
        if (result == cudaErrorNoDevice)
            throw Failure(kNotFound, "the driver knows no GPU (does CUDA_VISIBLE_DEVICES hide it?)");
        static std::atomic<bool> has_started = false;
        if (result != cudaSuccess && !has_started)  // so the process has no GPU to lose
            throw Failure(kUnsupported, "the NVIDIA driver does not start: %s", cudaGetErrorString(result));
        check(result, "looking for GPUs");
        has_started = true;
        if (*n > 0) check_code(0);  // the only one that models are loaded to
    });
}

int32_t device_info(int32_t device, DeviceInfo *out, char *error) {
    return guard(is_lost(device), error, [&] {
        cudaDeviceProp p;
        check(cudaGetDeviceProperties(&p, device), "asking a GPU what it is");
        std::snprintf(out->name, sizeof out->name, "%.*s", int(sizeof out->name) - 1, p.name);
        out->memory_bytes = p.totalGlobalMem;
        out->compute_capability = p.major * 10 + p.minor;
        out->n_multiprocessors = p.multiProcessorCount;
        out->integrated = p.integrated;
        out->misses_blas = Routes::misses_blas(device);
    });
}

int32_t free_bytes(int32_t device, uint64_t *bytes, char *error) {
    const OnDevice on(device);
    return guard(on.lost(), error, [&] {
        size_t available = 0, total = 0;
        const cudaError_t result = cudaMemGetInfo(&available, &total);
        static std::atomic<bool> has_started = false;
        const bool others = !has_started && (!is_sticky(result) || result == cudaErrorUnknown);
        if (result != cudaSuccess && others) {
            cudaGetLastError();  // for what comes later
            throw Failure(result == cudaErrorMemoryAllocation ? kOutOfMemory : kUnsupported,
                          "the GPU cannot be used now: %s", cudaGetErrorString(result));
        }
        check(result, "asking for the GPU's free memory");
        has_started = true;
        *bytes = available;
    });
}

int32_t measure(int32_t device, double *read_bytes_per_s, double *matrix_flops_per_s, char *error) {
    const OnDevice on(device);
    return guard(on.lost(), error, [&] {
        *read_bytes_per_s = measure_read_rate(device);
        *matrix_flops_per_s = measure_matrix_rate(device);
    });
}

int32_t store_create(int32_t device, const Tensor *tensors, size_t n, Store **out, char *error) {
    const OnDevice on(device);
    return guard(on.lost(), error, [&] { *out = new Store(device, tensors, n); });
}
int32_t store_load(Store *store, size_t tensor, uint64_t row, uint64_t n_rows, const void *rows, char *error) {
    const OnDevice on(store->device);
    return guard(on.lost(), error, [&] { store->load(tensor, row, n_rows, rows); });
}
void weight_bytes(const Tensor *tensors, size_t n, uint64_t *bytes, uint64_t *load_extra_bytes) {
    char error[kErrorBytes];
    if (guard(is_lost(0), error, [&] { Store::bytes(tensors, n, bytes, load_extra_bytes); }) != kOk)
        for (size_t i = 0; i < n; ++i) bytes[i] = UINT64_MAX / 4 / (n + 1);  // more than anybody has
}
void store_free(Store *store) {
    if (!store) return;
    const OnDevice on(store->device);
    delete store;
}

int32_t executable_memory(const ProgramView *program, const LimitsView *limits, Region *regions, size_t n_room,
                          size_t *n, char *error) {
    const OnDevice on(0);  // the only one that models are loaded to
    return guard(on.lost(), error, [&] {
        Pieces counted;
        std::vector<Region> all;
        Executable::lay_out(copy_program(*program), *limits, counted, &all);
        std::copy_n(all.begin(), std::min(all.size(), n_room), regions);
        *n = all.size();
    });
}
int32_t executable_create(const Store *store, const ProgramView *program, const LimitsView *limits, Executable **out,
                          char *error) {
    const OnDevice on(store->device);
    return guard(on.lost(), error, [&] { *out = new Executable(*store, *program, *limits); });
}
int32_t executable_run(Executable *e, const Step *step, StepEvents events, char *error) {
    const OnDevice on(e->store.device);
    return guard(on.lost(), error, [&] {
        if (e->broken_status != kOk) throw Failure(e->broken_status, "%s", e->broken);
        e->run(*step, events);
    });
}
int32_t executable_profile(Executable *e, const Step *step, StepEvents events, StageSpan *spans, size_t *n,
                           char *error) {
    const OnDevice on(e->store.device);
    return guard(on.lost(), error, [&] {
        if (e->broken_status != kOk) throw Failure(e->broken_status, "%s", e->broken);
        *n = e->profile(*step, events, spans);
    });
}
const float *executable_logits(Executable *e, uint32_t row) {
    between_steps(e, [&](Executable &on) { on.fetch_logits(row); });
    return e->logits(row);
}
int32_t executable_failure(const Executable *e, char *error) {
    if (e->broken_status != kOk) {
        std::snprintf(error, kErrorBytes, "%s", e->broken);
        return e->broken_status;
    }
    if (!is_lost(e->store.device)) return kOk;
    std::snprintf(error, kErrorBytes, "%s", kLostAdvice);
    return kDeviceLost;
}
int32_t executable_best(Executable *e, uint32_t row, size_t n, BestTokens *out) {
    bool there = false;
    between_steps(e, [&](Executable &on) { there = on.best(row, n, *out); });
    return there;
}
void executable_free(Executable *e) {
    if (!e) return;
    const OnDevice on(e->store.device);
    delete e;
}

int32_t can_turn_keys(const Executable *e) { return e->turns.can_turn; }
void copy_rows(Executable *e, uint32_t group, const int32_t *from, const int32_t *to, size_t n) {
    between_steps(e, [&](Executable &on) { on.copy_rows(group, from, to, n); });
}
void turn_keys(Executable *e, uint32_t group, const int32_t *slots, size_t n, int32_t positions) {
    between_steps(e, [&](Executable &on) { on.turn_keys(group, slots, n, positions); });
}
void copy_state(Executable *e, int32_t from, int32_t to) {
    between_steps(e, [&](Executable &on) { on.copy_state(from, to); });
}
size_t row_bytes(const Executable *e, uint32_t group) { return e->row_bytes(group); }
void read_rows(const Executable *e, uint32_t group, const int32_t *slots, size_t n, void *out) {
    between_steps(e, [&](Executable &on) { on.move_rows(group, slots, n, static_cast<uint8_t *>(out), false); });
}
void write_rows(Executable *e, uint32_t group, const int32_t *slots, size_t n, const void *in) {
    uint8_t *rows = static_cast<uint8_t *>(const_cast<void *>(in));
    between_steps(e, [&](Executable &on) { on.move_rows(group, slots, n, rows, true); });
}
size_t state_bytes(const Executable *e) { return e->state_bytes(); }
void read_state(const Executable *e, int32_t slot, size_t begin, size_t n, void *out) {
    between_steps(e, [&](Executable &on) { on.move_state(slot, begin, n, static_cast<uint8_t *>(out), false); });
}
void write_state(Executable *e, int32_t slot, size_t begin, size_t n, const void *in) {
    uint8_t *bytes = static_cast<uint8_t *>(const_cast<void *>(in));
    between_steps(e, [&](Executable &on) { on.move_state(slot, begin, n, bytes, true); });
}

constexpr Module kModule = {
    sizeof(Module),
    kBuildId,
    device_count,
    device_info,
    free_bytes,
    measure,
    Store::kRowGranularity,
    weight_bytes,
    store_create,
    store_load,
    store_free,
    executable_memory,
    executable_create,
    executable_run,
    executable_profile,
    executable_logits,
    executable_best,
    executable_failure,
    executable_free,
    can_turn_keys,
    copy_rows,
    turn_keys,
    copy_state,
    row_bytes,
    read_rows,
    write_rows,
    state_bytes,
    read_state,
    write_state,
};

}  // namespace
}  // namespace el::cuda

extern "C" __attribute__((visibility("default"))) const el::cuda::Module *
edgellm_cuda_module(const el::cuda::Sizes *sizes) {
    const el::cuda::Sizes mine;
    return sizes->sizes == sizeof mine && std::memcmp(sizes, &mine, sizeof mine) == 0 ? &el::cuda::kModule : nullptr;
}
