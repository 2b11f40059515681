#include "ops/quantize.cu"
