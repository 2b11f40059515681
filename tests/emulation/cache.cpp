#include "ops/cache.cu"
