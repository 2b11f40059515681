#include "ops/matvec_together.cu"
