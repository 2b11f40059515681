#include "api/backends.h"
#include "api/guard.h"
#include "base/cpu_info.h"
#include "engine/backends.h"

#include <string>
#include <unistd.h>

using namespace el;

namespace {

edgellm_device_info describe_cpu() {
    CpuInfo cpu = detect_cpu();
    std::string features;
    for (const std::string &feature : cpu.features) features += (features.empty() ? "" : " ") + feature;
    edgellm_device_info info = EDGELLM_DEVICE_INFO_INIT;
    info.kind = EDGELLM_DEVICE_CPU;
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    if (pages > 0 && page_bytes > 0)
        info.memory_bytes = static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes);
    info.n_threads = cpu.logical_cpus;
    copy_text(info.name, "cpu");
    copy_text(info.isa, isa_name(cpu.best));
    copy_text(info.description, cpu.model_name);
    copy_text(info.features, features);
    return info;
}

// The GPU backend where it can be used.
std::unique_ptr<Backend> gpu() {
    register_backends();
    for (const BackendEntry &entry : backends()) {
        if (entry.device == std::string_view("cpu")) continue;
        try {
            return entry.create();
        } catch (const Error &) {
        }
    }
    return nullptr;
}

edgellm_device_info describe_gpu(const Backend &backend) {
    const Backend::Device device = backend.device();
    edgellm_device_info info = EDGELLM_DEVICE_INFO_INIT;
    info.kind = EDGELLM_DEVICE_CUDA;
    info.memory_bytes = device.memory_bytes;
    copy_text(info.name, backend.name());
    copy_text(info.description, device.description);
    return info;
}

}  // namespace

edgellm_status edgellm_device_count(size_t *n) {
    return guard([&] {
        need(n, "n");
        *n = gpu() ? 2 : 1;
    });
}

edgellm_status edgellm_device_get_info(size_t index, edgellm_device_info *info) {
    return guard([&] {
        need(info, "info");
        check_out(info, "info");
        const std::unique_ptr<Backend> other = index == 1 ? gpu() : nullptr;
        if (index > 0 && !other) fail(Status::kNotFound, "there is no device {}; see edgellm_device_count()", index);
        write_struct(info, other ? describe_gpu(*other) : describe_cpu());
    });
}
