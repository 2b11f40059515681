// Bringing a file's tensors to a backend: chunk by chunk, straight to their final place where the layouts agree.
#pragma once
#include "engine/model.h"

namespace el {

// What the program does with each of the file's tensors; unused ones have no rows.
std::vector<WeightTensor> weight_tensors(const GgufFile &file, const Program &program);

void read_weights(const GgufFile &file, std::span<const WeightTensor> tensors, const ModelOptions &options,
                  WeightStore &store);

}  // namespace el
