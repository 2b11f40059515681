// Launches that overlap: on chips with programmatic dependent launch a kernel starts while the one before it on the
// stream still runs, and waits for it only where it needs its results. Elsewhere these are plain launches.
#pragma once
#include "device.h"
#include "path.h"

#include <algorithm>
#include <utility>

// How many registers a kernel may use; for compilers that cannot be told, how many threads and blocks they are for.
// Compilers take only one of both: script/gpu-report asks for the threads and blocks by EL_LAUNCH_BOUNDS.
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1204 && !defined(EL_LAUNCH_BOUNDS)
#define EL_REGISTERS(n, threads, blocks) __maxnreg__(n)
#else
#define EL_REGISTERS(n, threads, blocks) __launch_bounds__(threads, blocks)
#endif

namespace el::cuda {

// Waits until the kernel before this one on the stream has ended and its writes are visible. A kernel that may start
// early must call it in every thread that reads or writes anything that another kernel touches, before it does, and in
// some thread in any case: that it has ended tells others that those before it have. What is never written (weights,
// constants) may be read before.
__device__ inline void wait_for_predecessor() {
#if EL_PATH_90
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel on the stream start as soon as multiprocessors have room for it.
__device__ inline void let_successor_start() {
#if EL_PATH_90
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}

// What a kernel begins with that does nothing before its input is there.
__device__ inline void begin_after_predecessor() {
    let_successor_start();
    wait_for_predecessor();
}

// Of the block; aligned to 16 bytes.
__device__ inline uint8_t *dynamic_shared() {
    extern __shared__ __align__(16) uint8_t dynamic_shared_memory[];
    return dynamic_shared_memory;
}
// The same as what a kernel keeps there.
template <typename T> __device__ T &dynamic_shared_as() {
    extern __shared__ __align__(16) uint8_t dynamic_shared_memory_as[];
    return *reinterpret_cast<T *>(dynamic_shared_memory_as);
}

struct Grid {
    dim3 blocks, threads;
    size_t shared_bytes = 0;
    unsigned cluster = 0;  // blocks along x that share their memory (sm_90 and later); 0: none
};

// Lets blocks of a kernel take so much dynamic shared memory, which must be the same for every launch of a kernel:
// other threads launch it, too. Up to 48 KiB, which need no leave, it is (rope, delta rule, attention of heads up to
// 512). All ask for the same split between it and the first-level cache, as kernels that want different ones cannot
// share a multiprocessor.
template <typename... Params> void allow_shared(void (*kernel)(Params...), size_t bytes) {
    const int most = int(std::max(bytes, size_t{48} << 10));
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most), "preparing a kernel");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
          "preparing a kernel");
}

// How many blocks of a kernel a multiprocessor has room for, at least one.
template <typename... Params> uint32_t blocks_at_once(void (*kernel)(Params...), int threads, size_t shared_bytes) {
    int n = 0;
    const auto *function = reinterpret_cast<const void *>(kernel);
    check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&n, function, threads, shared_bytes), "preparing a kernel");
    return uint32_t(std::max(n, 1));
}

// How much dynamic shared memory blocks of a kernel may take so that `n` are on a multiprocessor at once.
template <typename... Params> size_t shared_of_each(void (*kernel)(Params...), int n, int threads) {
    size_t bytes = 0;
    const auto *function = reinterpret_cast<const void *>(kernel);
    check(cudaOccupancyAvailableDynamicSMemPerBlock(&bytes, function, n, threads), "preparing a kernel");
    return bytes;
}

template <typename... Params> int registers_of(void (*kernel)(Params...)) {
    cudaFuncAttributes attributes = {};
    check(cudaFuncGetAttributes(&attributes, kernel), "preparing a kernel");
    return attributes.numRegs;
}

// `early`: the chip has programmatic dependent launch.
template <typename... Params, typename... Args>
void launch_early(void (*kernel)(Params...), const Grid &grid, cudaStream_t stream, bool early, Args &&...args) {
    cudaLaunchAttribute attributes[2] = {};
    unsigned n_attributes = 0;
    if (early) {
        attributes[n_attributes].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[n_attributes++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (grid.cluster) {
        attributes[n_attributes].id = cudaLaunchAttributeClusterDimension;
        attributes[n_attributes++].val.clusterDim = {grid.cluster, 1, 1};
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = grid.blocks;
    config.blockDim = grid.threads;
    config.dynamicSmemBytes = grid.shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    config.numAttrs = n_attributes;
    check(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...), "starting a kernel");
}

}  // namespace el::cuda
