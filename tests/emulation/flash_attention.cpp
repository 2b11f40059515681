#include "ops/flash_attention.cu"
