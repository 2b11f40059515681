// In place of cuda/async_copy.cuh.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

// Counted from where a block's dynamic shared memory begins.
inline uint32_t shared_address(const void *p) {
    return uint32_t(static_cast<const uint8_t *>(p) - emulation::dynamic_shared());
}
inline void copy16(void *to, const void *from, bool exists = true) {
    emulation::check_alignment(to, 16);
    emulation::check_alignment(from, 16);
    emulation::copy_async(to, exists ? from : nullptr, 16);
}
template <int kOffset> void copy16_at(uint8_t *to, const uint8_t *from) { copy16(to + kOffset, from + kOffset); }
template <typename T> T *hold_shared(T *p) { return p; }
template <typename T> T *hold_global(T *p) { return p; }
inline void copy_async(void *to, const void *from) { copy16(to, from); }
inline void close_copies() { emulation::close_copies(); }
inline void wait_for_copies(int open) { emulation::wait_for_copies(open); }
template <int kOpen> void wait_copies() { emulation::wait_for_copies(kOpen); }

inline const bool &kHasBulkCopies = emulation::has_bulk_copies;
inline bool is_elected() { return threadIdx.x % 32 == 0; }
inline void init_arrivals(uint64_t *barriers, uint32_t n) {
    if (!kHasBulkCopies) return;
    if (threadIdx.x % 32 < n) emulation::begin_copies(barriers + threadIdx.x % 32);
    __syncthreads();
}
enum class L2 { kNormal, kEvictFirst };
inline void copy_bulk(void *to, const void *from, uint32_t bytes, uint64_t *barrier, L2) {
    emulation::check_alignment(to, 16);
    emulation::check_alignment(from, 16);
    if (bytes % 16) emulation::stop("a copy is not of whole 16 bytes");
    emulation::copy_bulk(to, from, bytes, barrier);
}
inline void copy_bulk_apart(void *to, uint32_t stride, const void *from, uint32_t bytes, uint32_t n,
                            uint64_t *barrier) {
    emulation::check_alignment(to, 16);
    emulation::check_alignment(from, 16);
    if (bytes % 16 || stride % 16 || stride < bytes || n > 32) emulation::stop("runs of bytes do not lie as they must");
    if (is_elected()) emulation::copy_bulk(to, from, bytes, barrier, n, stride);
    __syncwarp();
}
inline void wait_for_bulk(const uint64_t *barrier, uint32_t parity) { emulation::wait_for_bulk(barrier, parity); }
inline void release_to_copies() {
    emulation::make_fence();
    __syncwarp();
}

inline uint4 load16(const void *from) {
    emulation::check_alignment(from, 16);
    uint4 x;
    std::memcpy(&x, from, 16);
    return x;
}

}  // namespace el::cuda
