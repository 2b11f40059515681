#include "engine/plan.h"
#include "api/backends.h"
#include "api/guard.h"
#include "api/options.h"

using namespace el;

struct edgellm_memory_plan {
    MemoryPlan plan;
};

edgellm_status edgellm_memory_plan_create(const char *path, const edgellm_model_options *model_options,
                                          const edgellm_context_options *context_options, edgellm_memory_plan **out) {
    return guard([&] {
        need(out, "out");
        *out = nullptr;
        need(path, "path");
        register_backends();
        *out = new edgellm_memory_plan{
            plan_memory(path, el::model_options(model_options), el::context_options(context_options))};
    });
}

void edgellm_memory_plan_free(edgellm_memory_plan *plan) { delete plan; }

edgellm_status edgellm_memory_plan_get_summary(const edgellm_memory_plan *plan, edgellm_memory_summary *summary) {
    return guard([&] {
        need(plan, "plan");
        need(summary, "summary");
        check_out(summary, "summary");
        const MemoryPlan &from = plan->plan;
        edgellm_memory_summary result = EDGELLM_MEMORY_SUMMARY_INIT;
        if (from.fits) result.flags |= EDGELLM_MEMORY_FITS;
        result.context_tokens = static_cast<int32_t>(from.context_tokens);
        result.max_context_tokens = static_cast<int32_t>(from.max_context);
        result.n_regions = from.regions.size();
        result.total_bytes = all_bytes(from.regions);
        result.resident_bytes = from.resident_bytes;
        result.load_peak_bytes = from.load_peak_bytes;
        result.budget_bytes = from.budget_bytes;
        write_struct(summary, result);
    });
}

edgellm_status edgellm_memory_plan_get_region(const edgellm_memory_plan *plan, size_t index,
                                              edgellm_memory_region *region) {
    return guard([&] {
        need(plan, "plan");
        need(region, "region");
        check_out(region, "region");
        const auto &regions = plan->plan.regions;
        if (index >= regions.size())
            fail(Status::kNotFound, "there is no region {}; the plan has {}", index, regions.size());
        const PlannedRegion &from = regions[index];
        edgellm_memory_region result = EDGELLM_MEMORY_REGION_INIT;
        if (from.load_only) result.flags |= EDGELLM_MEMORY_LOAD_ONLY;
        result.bytes = from.bytes;
        result.row_bytes = from.row_bytes;
        result.n_rows = from.n_rows;
        copy_text(result.device, from.device);
        copy_text(result.name, from.name);
        write_struct(region, result);
    });
}
