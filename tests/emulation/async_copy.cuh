// In place of cuda/async_copy.cuh.
#pragma once
#include <cuda_runtime.h>

namespace el::cuda {

inline void copy16(void *to, const void *from, bool exists = true) {
    emulation::check_alignment(to, 16);
    emulation::check_alignment(from, 16);
    emulation::copy_async(to, exists ? from : nullptr, 16);
}
inline void copy_async(void *to, const void *from) { copy16(to, from); }
inline void close_copies() { emulation::close_copies(); }
inline void wait_for_copies(int open) { emulation::wait_for_copies(open); }
template <int kOpen> void wait_copies() { emulation::wait_for_copies(kOpen); }

inline uint4 load16(const void *from) {
    emulation::check_alignment(from, 16);
    uint4 x;
    std::memcpy(&x, from, 16);
    return x;
}

}  // namespace el::cuda
