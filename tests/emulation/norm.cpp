#include "ops/norm.cu"
