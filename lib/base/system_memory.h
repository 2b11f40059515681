// How much memory there is to take. Linux promises more than it has, and kills who believes it: large allocations ask
// here first.
#pragma once
#include <cstdint>
#include <string_view>

namespace el {

// What the system and the process's control group (v2) can still give; UINT64_MAX if they do not say.
uint64_t available_memory_bytes();

// Throws kOutOfMemory when `bytes` are more than that: "<what> needs 12345 MB, and 678 MB are available; <advice>".
void check_available_memory(uint64_t bytes, std::string_view what, std::string_view advice);

}  // namespace el
