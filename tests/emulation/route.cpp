#include "ops/route.cu"
