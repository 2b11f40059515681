// edgellm devices: what models can run on here.
#include "commands.h"
#include "json.h"

#include <edgellm/edgellm.hpp>
#include <memory>
#include <sstream>

namespace tool {
namespace {

constexpr const char *kNoGpu = "this build has no GPU support";

Json describe(const edgellm_device_info &device) {
    Json features = Json::array();
    std::istringstream words(device.features);
    for (std::string word; words >> word;) features.push_back(word);
    return {{"name", device.name},
            {"kind", "cpu"},
            {"description", device.description},
            {"isa", device.isa},
            {"features", features},
            {"threads", device.n_threads},
            {"memory_bytes", device.memory_bytes}};
}

void put_text(const edgellm_device_info &device) {
    put(fmt::format("{}: {}\n", device.name, device.description));
    put(fmt::format("  threads   {}\n", device.n_threads));
    put(fmt::format("  kernels   {}\n", device.isa));
    put(fmt::format("  features  {}\n", device.features));
    if (device.memory_bytes) put(fmt::format("  memory    {}\n", bytes_text(double(device.memory_bytes))));
}

void show_devices(bool json) {
    const std::vector<edgellm_device_info> devices = edgellm::devices();
    Json list = Json::array();
    for (const edgellm_device_info &device : devices) {
        list.push_back(describe(device));
        if (!json) put_text(device);
    }
    if (json)
        put_json({{"devices", list}, {"gpu", {{"available", false}, {"reason", kNoGpu}}}});
    else
        put(fmt::format("gpu: not used, {}\n", kNoGpu));
}

}  // namespace

void add_devices(CLI::App &program) {
    auto json = std::make_shared<bool>(false);
    CLI::App *command = program.add_subcommand("devices", "what models can run on here");
    command->add_flag("--json", *json, "print JSON");
    command->callback([json] { show_devices(*json); });
}

}  // namespace tool
