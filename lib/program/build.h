// From specs to ops. Knows layers, not architectures.
#pragma once
#include "model/spec.h"
#include "program/op.h"

#include <string>

namespace el {

Program build_program(const ModelSpec &spec, std::span<const TensorInfo> tensors);

// The ops as text, one line each, for `inspect --program` and golden dumps.
std::string dump_program(const Program &program, std::span<const TensorInfo> tensors);

}  // namespace el
