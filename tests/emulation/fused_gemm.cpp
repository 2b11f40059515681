#include "ops/fused_gemm.cu"
