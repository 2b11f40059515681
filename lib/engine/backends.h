// The one registry of backends. api/ fills it once, so that the engine knows none by name.
#pragma once
#include "backend/backend.h"

#include <span>

namespace el {

struct BackendEntry {
    const char *device;  // "cpu"
    bool reference;      // its kernels are the reference ones
    std::unique_ptr<Backend> (*create)();
};

void set_backends(std::span<const BackendEntry> entries);  // they stay where they are; safe to call again
std::span<const BackendEntry> backends();

}  // namespace el
