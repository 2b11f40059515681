#include "ops/bring_step.cu"
