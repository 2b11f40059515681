// Stands in for the kernels that the build leaves out.
#include "backend/cpu/kernels.h"

namespace el::cpu {

#ifdef EL_NO_KERNELS_AVX2
const Kernels *kernels_avx2() { return nullptr; }
#endif
#ifdef EL_NO_KERNELS_AVX512
const Kernels *kernels_avx512() { return nullptr; }
#endif
#ifdef EL_NO_KERNELS_NEON
const Kernels *kernels_neon() { return nullptr; }
#endif

}  // namespace el::cpu
