// What a GPU does at most, measured with kernels that do nothing else. The device is the current one.
#pragma once
#include "ops.h"

namespace el::cuda {

double measure_read_rate(int32_t device);    // bytes per second
double measure_matrix_rate(int32_t device);  // operations per second, float16 with sums in float32

}  // namespace el::cuda
