// How much memory there is to take. Linux promises more than it has, and kills who believes it: large allocations ask
// here first.
#pragma once
#include <cstdint>

namespace el {

// What the system and the process's control group (v2) can still give; UINT64_MAX if they do not say.
uint64_t available_memory_bytes();

}  // namespace el
