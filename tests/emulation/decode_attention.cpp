#include "ops/decode_attention.cu"
