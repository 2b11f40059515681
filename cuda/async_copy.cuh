// Copies from global to shared memory that go on while a thread does something else.
#pragma once
#include <cstdint>
#include <cuda_runtime.h>

namespace el::cuda {

// 16 bytes, both sides aligned.
__device__ inline void copy_async(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(uint32_t(__cvta_generic_to_shared(to))), "l"(from)
                 : "memory");
}

// All copies since the last call are a group, even if there are none.
__device__ inline void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most `open` groups, 1 to 3, of this thread are under way.
__device__ inline void wait_for_copies(int open) {
    if (open == 1)
        asm volatile("cp.async.wait_group 1;" ::: "memory");
    else if (open == 2)
        asm volatile("cp.async.wait_group 2;" ::: "memory");
    else
        asm volatile("cp.async.wait_group 3;" ::: "memory");
}

}  // namespace el::cuda
