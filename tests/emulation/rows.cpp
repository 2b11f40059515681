#include "ops/rows.cu"
