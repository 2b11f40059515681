#include "ops/recurrent.cu"
