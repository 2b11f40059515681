// What ops cost in bytes and operations, and what that says of the time that they took.
#pragma once
#include "backend/backend.h"

#include <span>

namespace tool {

// A step of one sequence as far as its cost goes.
struct StepShape {
    double tokens = 1, outputs = 1;
    double depth = 0;  // tokens before them
    el::Format cache_k = el::Format::kF16, cache_v = el::Format::kF16;
};

struct Work {
    double weight_bytes = 0;
    double cache_bytes = 0;  // rows read and written, recurrent state too
    double value_bytes = 0;  // what comes from ops outside and what goes to them
    double flops = 0;

    double bytes() const { return weight_bytes + cache_bytes + value_bytes; }
    Work &operator+=(const Work &other);
};

// Of ops that are done as one: each weight and each row of the cache moves once. Without `value_bytes`.
Work work_of(const el::Program &program, const el::Op &op, const StepShape &shape);
Work work_of(const el::Program &program, std::span<const uint32_t> ops, const StepShape &shape);

// What a time is mostly explained by: moving the bytes at the rate that the device reads at, doing the operations at
// the rate of its matrix products, or neither.
enum class Bound { kBytes, kFlops, kLatency };
Bound bound_of(const Work &work, double seconds, const el::DeviceRates &rates);
const char *bound_name(Bound bound);

}  // namespace tool
