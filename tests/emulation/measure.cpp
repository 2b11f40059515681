#include "ops/measure.cu"
