#include "ops/matvec_tokens.cu"
