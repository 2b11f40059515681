#include "measure.h"

#include "executable.h"
#include "ops/measure.h"
#include "profile.h"

#include <algorithm>
#include <cmath>

namespace el::cuda {
namespace {

int multiprocessors(int32_t device) {
    int n = 0;
    check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "asking a GPU what it is");
    return n;
}

// Of the fastest of a few launches; the first one is not timed.
template <typename Launch> double least_seconds(cudaStream_t stream, Launch launch) {
    const Event begin, end;
    double least = HUGE_VAL;
    for (int i = 0; i < 9; ++i) {
        check(cudaEventRecord(begin, stream), "measuring the GPU");
        launch();
        check(cudaEventRecord(end, stream), "measuring the GPU");
        check(cudaStreamSynchronize(stream), "measuring the GPU");
        if (i > 0) least = std::min(least, Event::seconds(begin, end));
    }
    return least;
}

}  // namespace

double measure_read_rate(int32_t device) {
    constexpr size_t kMostBytes = size_t{1} << 30;  // far more than caches hold
    const int n_blocks = multiprocessors(device);
    size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "asking for the GPU's free memory");
    const size_t bytes = std::min(kMostBytes, available / 2) / kReadChunkBytes * kReadChunkBytes;
    const size_t sum_bytes = size_t(n_blocks) * kReadThreads * sizeof(uint4);
    const DeviceMemory memory(bytes, "measuring the read rate"), sums(sum_bytes, "measuring the read rate");
    const Stream stream;
    check(cudaMemsetAsync(memory.data(), 1, bytes, stream), "measuring the GPU");
    const ReadCall call{reinterpret_cast<const uint4 *>(memory.data()), bytes / sizeof(uint4),
                        reinterpret_cast<uint4 *>(sums.data())};
    return double(bytes) / least_seconds(stream, [&] { read_all(call, n_blocks, stream); });
}

double measure_matrix_rate(int32_t device) {
    constexpr int kSteps = 1024;
    const int n_blocks = 2 * multiprocessors(device);
    const DeviceMemory sums(size_t(n_blocks) * kMultiplyThreads * sizeof(float), "measuring the matrix rate");
    const Stream stream;
    float *out = reinterpret_cast<float *>(sums.data());
    return double(n_blocks) * kSteps * kMultiplyFlops /
           least_seconds(stream, [&] { multiply_long(out, kSteps, n_blocks, stream); });
}

}  // namespace el::cuda
