// edgellm devices: what models can run on here.
#include "commands.h"
#include "json.h"

#include "engine/backends.h"

#include <cstdlib>
#include <edgellm/edgellm.hpp>
#include <memory>
#include <sstream>

namespace tool {
namespace {

// Why the GPU backend cannot be used; empty if it can.
std::string gpu_problem() {
    for (const el::BackendEntry &entry : el::backends()) {
        if (std::string_view(entry.device) != "cuda") continue;
        try {
            entry.create()->free_bytes();
            return "";
        } catch (const std::exception &error) {
            return error.what();
        }
    }
    return "this build has no GPU support";
}

Json describe(const edgellm_device_info &device) {
    Json features = Json::array();
    std::istringstream words(device.features);
    for (std::string word; words >> word;) features.push_back(word);
    return {{"name", device.name},
            {"kind", device.kind == EDGELLM_DEVICE_CUDA ? "cuda" : "cpu"},
            {"description", device.description},
            {"isa", device.isa},
            {"features", features},
            {"threads", device.n_threads},
            {"memory_bytes", device.memory_bytes}};
}

void put_text(const edgellm_device_info &device) {
    put(el::format("{}: {}\n", device.name, device.description));
    if (device.kind == EDGELLM_DEVICE_CPU) {
        put(el::format("  threads   {}\n", device.n_threads));
        put(el::format("  kernels   {}\n", device.isa));
        put(el::format("  features  {}\n", device.features));
    }
    if (device.memory_bytes) put(el::format("  memory    {}\n", bytes_text(double(device.memory_bytes))));
}

void show_devices(bool json) {
    const std::vector<edgellm_device_info> devices = edgellm::devices();
    Json list = Json::array();
    for (const edgellm_device_info &device : devices) {
        list.push_back(describe(device));
        if (!json) put_text(device);
    }
    const std::string problem = gpu_problem();
    Json gpu = {{"available", problem.empty()}};
    if (!problem.empty()) gpu["reason"] = printable(problem);
    Json result = {{"devices", list}, {"gpu", gpu}};
    const char *named = std::getenv("EDGELLM_DEVICE");  // for models that are loaded without a choice
    if (named && *named) result["EDGELLM_DEVICE"] = printable(named);
    if (json) return put_json(result);
    if (!problem.empty()) put(el::format("gpu: not used: {}\n", printable(problem)));
    if (named && *named) put(el::format("EDGELLM_DEVICE: {}\n", printable(named)));
}

}  // namespace

void add_devices(CLI::App &program) {
    auto json = std::make_shared<bool>(false);
    CLI::App *command = program.add_subcommand("devices", "what models can run on here");
    command->add_flag("--json", *json, "print JSON");
    command->callback([json] { show_devices(*json); });
}

}  // namespace tool
