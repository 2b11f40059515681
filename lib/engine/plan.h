// The memory plan: what a model and its contexts are made of, before anything large is allocated. Loading and contexts
// are built from these very plans, so the two cannot disagree.
#pragma once
#include "backend/backend.h"
#include "engine/budget.h"
#include "engine/options.h"
#include "model/gguf.h"
#include "model/spec.h"
#include "text/vocab.h"

#include <memory>
#include <optional>
#include <vector>

namespace el {

// ---- a model

// What follows from a file's header.
struct ModelPlan {
    const Vocabulary *vocabulary = nullptr;  // NULL: none
    std::unique_ptr<Backend> backend;        // NULL: no weights are wanted, or none are there
    std::string device = "cpu";              // whose backend it is
    // Those below are empty then.
    Isa isa = Isa::kScalar;
    ModelSpec spec;
    Program program;
    std::vector<WeightTensor> weights;  // [tensors of the file]
    WeightLayout layout;
    bool own_memory = false;  // the backend's device shares none with the CPU
    std::vector<PlannedRegion> regions;

    // That there is now, with so much left of the budget.
    Room room(uint64_t budget) const { return {budget, own_memory ? backend->free_bytes() : UINT64_MAX}; }
};

// `vocabulary`, and `file` for the tensors' names, outlive the plan. Throws as loading does.
ModelPlan plan_model(const GgufFile &file, const Vocabulary *vocabulary, const ModelOptions &options);

// ---- a context

struct ContextPlan {
    ContextOptions options;  // with the defaults resolved
    CacheLimits cache;
    ExecutableLimits limits;
    int n_threads = 1;
    size_t text_bytes = 0, state_bytes = 0;
    std::vector<PlannedRegion> regions;
};

// The model has weights. Throws kInvalidArgument or kUnsupported, naming the option.
ContextPlan plan_context(const ModelPlan &model, const ContextOptions &options);

// The largest context_tokens for whose context there is room; 0 if there is none.
uint32_t max_context(const ModelPlan &model, ContextOptions options, const Room &room);

// What a context keeps in its arena before the executable's part.
struct ContextMemory {
    std::optional<Cache> cache;
    Step step;
    int32_t *added = nullptr, *step_index = nullptr, *tree = nullptr;  // [max_sequences] each
    int32_t *order = nullptr;                                          // [max_batch_tokens]
    int32_t *slots[2] = {};                                            // [max_rows] each
    std::span<char> text;
    std::span<std::byte> state;          // saved sequences go through it in pieces
    SavedGroup *saved_groups = nullptr;  // [n_groups]
};

// `memory` is an Arena, or an ArenaSizer that only counts; close(name) is called after each region.
template <typename Memory, typename Close>
ContextMemory lay_out_context(const Program &program, const ContextPlan &plan, Memory &memory, Close close) {
    ContextMemory m;
    m.cache.emplace(program.cache_groups, plan.cache, plan.limits.n_pages, memory);
    for (int32_t *&slots : m.slots) slots = memory.template take<int32_t>(plan.cache.max_rows);
    close("cache tables");
    m.step = lay_out_step(plan.limits.step, memory);
    for (int32_t **array : {&m.added, &m.step_index, &m.tree})
        *array = memory.template take<int32_t>(plan.options.max_sequences);
    m.order = memory.template take<int32_t>(plan.options.max_batch_tokens);
    close("step");
    m.text = {memory.template take<char>(plan.text_bytes), plan.text_bytes};
    close("text buffers");
    m.state = {memory.template take<std::byte>(plan.state_bytes), plan.state_bytes};
    m.saved_groups = memory.template take<SavedGroup>(program.cache_groups.size());
    close("save and restore");
    return m;
}

// ---- both

struct MemoryPlan {
    std::vector<PlannedRegion> regions;  // the model's, then the context's
    uint64_t resident_bytes = 0;         // of a model with one context
    uint64_t load_peak_bytes = 0;
    uint64_t budget_bytes = 0;
    uint32_t context_tokens = 0;  // 0: without weights
    uint32_t max_context = 0;     // the largest context_tokens that fits; 0: none
    bool fits = false;            // the budget, and what is free of a device's own memory
};

// Reads only headers. Throws as loading and creating a context do, except that what does not fit is no error.
MemoryPlan plan_memory(const std::string &path, const ModelOptions &model, const ContextOptions &context);

}  // namespace el
