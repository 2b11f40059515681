// edgellm plan: the memory that a model and a context will take.
#include "commands.h"
#include "compute.h"
#include "json.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace tool {
namespace {

struct Options {
    ComputeOptions compute;
    bool json = false;
};

struct Plan {
    edgellm_memory_summary summary;
    std::vector<edgellm_memory_region> regions;

    bool fits() const { return summary.flags & EDGELLM_MEMORY_FITS; }
    // Groups that have a row for each token of the context, and those that a window bounds.
    bool grows(const edgellm_memory_region &region) const {
        return region.n_rows >= static_cast<uint64_t>(summary.context_tokens);
    }
    uint64_t cache_bytes_per_token() const {
        uint64_t sum = 0;
        for (const edgellm_memory_region &region : regions)
            if (grows(region)) sum += region.row_bytes;
        return sum;
    }
    uint64_t cache_fixed_bytes() const {
        uint64_t sum = 0;
        for (const edgellm_memory_region &region : regions)
            if (region.n_rows > 0 && !grows(region)) sum += region.bytes;
        return sum;
    }
};

Json region_json(const edgellm_memory_region &region) {
    Json json = {{"device", region.device}, {"name", region.name}, {"bytes", region.bytes}};
    if (region.flags & EDGELLM_MEMORY_LOAD_ONLY) json["load_only"] = true;
    if (region.n_rows > 0) json["row_bytes"] = region.row_bytes, json["rows"] = region.n_rows;
    return json;
}

void put_as_json(const Plan &plan) {
    Json regions = Json::array();
    for (const edgellm_memory_region &region : plan.regions) regions.push_back(region_json(region));
    const edgellm_memory_summary &s = plan.summary;
    put_json({{"regions", regions},
              {"total_bytes", s.total_bytes},
              {"resident_bytes", s.resident_bytes},
              {"load_peak_bytes", s.load_peak_bytes},
              {"budget_bytes", s.budget_bytes},
              {"fits", plan.fits()},
              {"context_tokens", s.context_tokens},
              {"max_context", s.max_context_tokens},
              {"cache_bytes_per_token", plan.cache_bytes_per_token()},
              {"cache_fixed_bytes", plan.cache_fixed_bytes()}});
}

std::string cache_formula(const Plan &plan) {
    std::string text = el::format("{} bytes x tokens of context", plan.cache_bytes_per_token());
    if (const uint64_t fixed = plan.cache_fixed_bytes()) text += el::format(" + {} bytes", fixed);
    return text + ", the context in whole pages of 32 tokens";
}

void put_as_text(const Plan &plan) {
    auto line = [](std::string_view device, std::string_view name, uint64_t bytes, std::string_view more = "") {
        put(el::format("{:<7} {:<36} {:>14}  {:>10}{}\n", device, name, bytes, bytes_text(double(bytes)), more));
    };
    put(el::format("{:<7} {:<36} {:>14}\n", "device", "region", "bytes"));
    for (const edgellm_memory_region &region : plan.regions)
        line(region.device, region.name, region.bytes,
             region.flags & EDGELLM_MEMORY_LOAD_ONLY ? "  while loading" : "");
    const edgellm_memory_summary &s = plan.summary;
    line("", "total", s.total_bytes);
    line("", "peak of loading", s.load_peak_bytes);
    line("", "budget", s.budget_bytes, plan.fits() ? "  fits" : "  does not fit");
    if (s.context_tokens == 0) return;
    put(el::format("\ncontext: {} tokens; the most that fits: {}\n", s.context_tokens,
                   s.max_context_tokens ? std::to_string(s.max_context_tokens) : "none"));
    put(el::format("cache:   {}\n", cache_formula(plan)));
}

void show_plan(const Options &options) {
    const edgellm::MemoryPlan plan = memory_plan(options.compute);
    const Plan all{plan.summary(), plan.regions()};
    options.json ? put_as_json(all) : put_as_text(all);
}

}  // namespace

void add_plan(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("plan", "the memory that a model and a context will take");
    command->add_option("model,-m,--model", options->compute.model, "model file (GGUF)")->required()->type_name("FILE");
    add_engine_options(*command, options->compute);
    command->add_flag("--json", options->json, "print JSON");
    command->callback([options] { show_plan(*options); });
}

}  // namespace tool
