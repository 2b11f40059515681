// Finds the tensors that a row lists, and checks their shapes.
#pragma once
#include "model/archs.h"
#include "model/spec_keys.h"

namespace el {

// Fills `spec.tensor` and those of its layers. Throws kTensorInvalid for one that is missing or has another shape,
// kUnsupported for one that the row does not list.
void bind_tensors(const GgufFile &file, const Keys &keys, const ArchRow &row, ModelSpec &spec);

}  // namespace el
