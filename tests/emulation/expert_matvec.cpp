#include "ops/expert_matvec.cu"
