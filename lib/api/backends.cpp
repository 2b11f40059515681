// The only file that knows the backends by name.
#include "api/backends.h"
#include "engine/backends.h"

#include <iterator>

namespace el {

void register_backends() noexcept {
    static constexpr BackendEntry kEntries[] = {
        {"cpu", true, create_reference_backend},
        {"cpu", false, create_cpu_backend},
        {"cuda", false, create_cuda_backend},
    };
    set_backends(kEntries);
}

}  // namespace el
