// The real runtime for tests on a GPU: calls that take memory go through here (by the linker's --wrap), are counted,
// and can be told to fail. What tests see is what fake_cuda.h describes, as far as it says so below.
#include "fake_cuda.h"

#include <cuda_runtime.h>

namespace {

// allocations, fail_allocation_at, refused, live_handles (streams, events, graphs, blocks), copied_bytes
FakeCuda counted;

bool refuse() {
    if (counted.allocations++ != counted.fail_allocation_at) return false;
    return counted.refused = true;
}
cudaError_t made(cudaError_t error) {
    counted.live_handles += error == cudaSuccess;
    return error;
}

__global__ void write_nowhere(int *nowhere) { *nowhere = 1; }

}  // namespace

extern "C" {

#define COUNTED(name, parameters, arguments)                                                                           \
    cudaError_t __real_##name parameters;                                                                              \
    cudaError_t __wrap_##name parameters {                                                                             \
        return refuse() ? cudaErrorMemoryAllocation : made(__real_##name arguments);                                   \
    }
COUNTED(cudaMalloc, (void **out, size_t bytes), (out, bytes))
COUNTED(cudaMallocHost, (void **out, size_t bytes), (out, bytes))
COUNTED(cudaStreamCreateWithPriority, (cudaStream_t * out, unsigned flags, int priority), (out, flags, priority))
COUNTED(cudaEventCreate, (cudaEvent_t * out), (out))
COUNTED(cudaGraphInstantiate, (cudaGraphExec_t * out, cudaGraph_t graph, unsigned long long flags), (out, graph, flags))
#undef COUNTED

#define FREED(name, type)                                                                                              \
    cudaError_t __real_##name(type handle);                                                                            \
    cudaError_t __wrap_##name(type handle) {                                                                           \
        counted.live_handles -= handle != nullptr;                                                                     \
        return __real_##name(handle);                                                                                  \
    }
FREED(cudaFree, void *)
FREED(cudaFreeHost, void *)
FREED(cudaStreamDestroy, cudaStream_t)
FREED(cudaEventDestroy, cudaEvent_t)
FREED(cudaGraphExecDestroy, cudaGraphExec_t)
#undef FREED

cudaError_t __real_cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t __wrap_cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind, cudaStream_t stream) {
    if (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDefault) counted.copied_bytes += int64_t(n);
    return __real_cudaMemcpyAsync(to, from, n, kind, stream);
}

__attribute__((visibility("default"))) FakeCuda *fake_cuda() {
    counted.make_stream = []() -> void * {
        cudaStream_t stream = nullptr;
        cudaStreamCreate(&stream);
        return stream;
    };
    counted.make_event = []() -> void * {
        cudaEvent_t event = nullptr;
        __real_cudaEventCreate(&event);
        return event;
    };
    counted.free_bytes = [] {
        size_t available = 0, total = 0;
        cudaMemGetInfo(&available, &total);
        return int64_t(available);
    };
    counted.lose_device = [] { write_nowhere<<<1, 1>>>(nullptr); };
    return &counted;
}

}  // extern "C"
