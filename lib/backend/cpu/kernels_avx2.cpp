#include "backend/cpu/simd_avx2.h"

#include "backend/cpu/kernels_table.h"

namespace el::cpu {

const Kernels *kernels_avx2() {
    static constexpr Kernels kTable = make_table("avx2");
    return &kTable;
}

}  // namespace el::cpu
