#include "backend/cpu/simd_scalar.h"

#include "backend/cpu/kernels_table.h"

namespace el::cpu {

const Kernels *kernels_scalar() {
    static constexpr Kernels kTable = make_table("scalar");
    return &kTable;
}

}  // namespace el::cpu
