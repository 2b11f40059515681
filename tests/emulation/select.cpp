#include "ops/select.cu"
