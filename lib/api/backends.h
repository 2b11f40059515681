#pragma once

namespace el {

// Tells the engine which backends there are. Cheap, and safe to call again and from any thread.
void register_backends() noexcept;

}  // namespace el
