#include "backend/cpu/simd_neon.h"

#include "backend/cpu/kernels_table.h"

namespace el::cpu {

const Kernels *kernels_neon() {
    static constexpr Kernels kTable = make_table("neon");
    return &kTable;
}

}  // namespace el::cpu
