// In place of cuda/launch.h.
#pragma once
#include "device.h"

#define EL_REGISTERS(...)

namespace el::cuda {

using emulation::wait_for_predecessor;
inline void let_successor_start() {}
inline void begin_after_predecessor() { wait_for_predecessor(); }
inline uint8_t *dynamic_shared() { return emulation::dynamic_shared(); }
template <typename T> T &dynamic_shared_as() { return *reinterpret_cast<T *>(dynamic_shared()); }

struct Grid {
    dim3 blocks, threads;
    size_t shared_bytes = 0;
    unsigned cluster = 0;
};
template <typename... Params> void allow_shared(void (*)(Params...), size_t) {}
template <typename... Params> uint32_t blocks_at_once(void (*)(Params...), int, size_t) {
    return emulation::fitting_blocks;
}
template <typename... Params> size_t shared_of_each(void (*)(Params...), int, int) { return 75 << 10; }
template <typename... Params> int registers_of(void (*)(Params...)) { return 72; }

template <typename... Params, typename... Args>
void launch_early(void (*kernel)(Params...), const Grid &grid, cudaStream_t, bool, Args &&...args) {
    emulation::run({grid.blocks, grid.threads, grid.shared_bytes, max(grid.cluster, 1u)}, [&] { kernel(args...); });
}

}  // namespace el::cuda
