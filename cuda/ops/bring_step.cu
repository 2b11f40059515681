// A small step's arrays, fetched by the device.
#include "launch.h"
#include "step.h"

namespace el::cuda {
namespace {

constexpr uint32_t kThreadsOfPart = 32, kThreads = kThreadsOfPart * std::tuple_size_v<StepParts>;

__global__ void __launch_bounds__(kThreads) bring_step_kernel(StepParts parts, const int32_t *from, int32_t *to) {
    const StepPart &p = parts[threadIdx.x / kThreadsOfPart];
    for (uint32_t i = threadIdx.x % kThreadsOfPart; i < p.rows * p.words; i += kThreadsOfPart) {
        const uint32_t at = p.at + i / p.words * p.stride + i % p.words;
        to[at] = __ldcv(from + at);
    }
}

}  // namespace

void bring_step(const Step &host, uint8_t *device, cudaStream_t stream) {
    // Kernels that may start early look at the step before they wait: one that may not, as the lookup of tokens, has to
    // come between.
    launch_early(bring_step_kernel, {1, kThreads}, stream, false, parts_of(host), host.token,
                 reinterpret_cast<int32_t *>(device));
}

}  // namespace el::cuda
