#include "backend/cpu/simd_avx512.h"

#include "backend/cpu/kernels_table.h"

namespace el::cpu {

const Kernels *kernels_avx512() {
    static constexpr Kernels kTable = make_table("avx512");
    return &kTable;
}

}  // namespace el::cpu
