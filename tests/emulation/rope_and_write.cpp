#include "ops/rope_and_write.cu"
