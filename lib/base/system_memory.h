// How much memory there is to take. Linux promises more than it has, and kills who believes it: large allocations ask
// here first.
#pragma once
#include <cstdint>
#include <string>

namespace el {

// What the system and the process's control groups (v2) can still give; UINT64_MAX if they do not say.
uint64_t available_memory_bytes();

// The least that a group and those around it can still give; `group` is its path below the folder `root`.
uint64_t available_in_groups(const std::string &root, std::string group);

}  // namespace el
