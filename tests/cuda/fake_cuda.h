// A CUDA runtime without a GPU, for tests: the CUDA module is linked with it instead of the real one. Memory is host
// memory, copies are made at once, kernels do nothing, and any call can be told to fail.
//
// The environment, when the module is loaded: FAKE_CUDA_NO_DEVICE=N (a cudaError_t: what looking for GPUs says),
// FAKE_CUDA_BLAS=absent. At any time: FAKE_CUDA_CAPABILITY=89, of a GPU; FAKE_CUDA_NO_IMAGE=1, of one for which there
// is no code; FAKE_CUDA_INTEGRATED=1, of one that shares its memory with the CPU; FAKE_CUDA_BUSY=N (a
// cudaError_t), of one that cannot be used now.
#pragma once
#include <cstddef>
#include <cstdint>

struct FakeCuda {
    int64_t calls = 0, allocations = 0;  // so far: all, and those that take memory of the driver
    int64_t fail_allocation_at = -1;     // the number of the one that finds no memory left
    int64_t lose_at = -1;                // the number of the call from which on the device is lost
    bool refused = false, lost = false;  // has happened

    int64_t live_handles = 0, live_bytes = 0;  // streams, events, graphs and blocks of memory; what the blocks take
    int64_t total_bytes = int64_t(8) << 30;
    int64_t captures = 0, instantiations = 0;
    const void *launched = nullptr;  // the last graph
    int64_t of_cluster[9] = {};      // kernels launched or captured, by blocks of a cluster
    int64_t copied_bytes = 0;        // to the host; of copies that are captured, when they are
    void *pinned = nullptr;          // the last block of the host's memory: of the best tokens, once there is a context

    struct {
        void *to;
        size_t pitch, width, rows;
    } rectangle = {};  // that was last copied

    static constexpr size_t kRecorded = 1 << 14;
    struct Call {
        const char *name;
        const void *stream;  // or event
    } record[kRecorded] = {};
    size_t n_recorded = 0;  // set to 0 to begin anew

    void *(*make_stream)() = nullptr;
    void *(*make_event)() = nullptr;
    void (*free_handle)(void *) = nullptr;
    int64_t (*free_bytes)() = nullptr;  // on the GPU
    void (*lose_device)() = nullptr;    // at once, or by a kernel that writes where nothing is
};

// Of the module that the environment variable EDGELLM_CUDA_MODULE names.
constexpr char kFakeCudaName[] = "fake_cuda";
using FakeCudaFunction = FakeCuda *(*)();
