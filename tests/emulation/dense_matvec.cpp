#include "ops/dense_matvec.cu"
