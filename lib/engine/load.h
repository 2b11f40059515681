// Bringing a file's tensors to a backend: chunk by chunk, straight to their final place where the layouts agree.
#pragma once
#include "backend/backend.h"
#include "engine/options.h"
#include "model/gguf.h"

namespace el {

// What the program does with each of the file's tensors; unused ones have no rows.
std::vector<WeightTensor> weight_tensors(const GgufFile &file, const Program &program);

// Buffers for rows on their way.
struct StagingBytes {
    uint64_t rows = 0;    // as in the file
    uint64_t floats = 0;  // decoded
    uint64_t all() const { return rows + floats; }
};
StagingBytes staging_bytes(const GgufFile &file, std::span<const WeightTensor> tensors, uint32_t granularity);

// Returns a hash that tells models apart: of what the architecture's metadata says, of the tensors that are used, and
// of a sample of each, its first and its last row (up to 4 KiB of either), taken as they come by.
// `granularity` is WeightLayout::row_granularity.
uint64_t read_weights(const GgufFile &file, std::span<const WeightTensor> tensors, uint32_t granularity,
                      const ModelOptions &options, WeightStore &store);

}  // namespace el
