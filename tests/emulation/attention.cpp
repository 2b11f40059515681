#include "ops/attention.cu"
