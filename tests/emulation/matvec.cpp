#include "ops/matvec.cu"
