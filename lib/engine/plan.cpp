#include "engine/plan.h"
#include "engine/backends.h"
#include "engine/load.h"
#include "program/build.h"
#include "program/key_turns.h"
#include "text/text_stream.h"

#include "base/format.h"
#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>

namespace el {
namespace {

constexpr uint32_t kMaxTokens = std::numeric_limits<int32_t>::max() - kPageTokens;  // so that slots fit in 32 bits
constexpr uint32_t kMaxSequences = 1024;
// Pages of this library and of those it uses that loading and running touch, as measured.
constexpr uint64_t kCodeBytes = 3 << 20;

// ---- model

std::unique_ptr<Backend> create_backend(const std::string &device, bool reference) {
    bool device_known = false;
    for (const BackendEntry &entry : backends()) {
        if (device != entry.device) continue;
        device_known = true;
        if (entry.reference == reference) return entry.create();
    }
    if (device_known)
        fail(Status::kUnsupported, "device '{:.32}' has no reference kernels; choose 'cpu', which has them", device);
    std::string known;
    for (const BackendEntry &entry : backends())
        if (known.find(entry.device) == known.npos) known += el::format("'{}', ", entry.device);
    fail(Status::kNotFound, "there is no device '{:.32}'; choose {}or 'auto', for which EDGELLM_DEVICE may stand",
         device, known);
}

// What "auto" stands for: a GPU that the weights fit; the CPU where there is none, or where something is wanted that
// only the CPU has. EDGELLM_DEVICE in the environment decides before all that.
void choose_backend(ModelPlan &plan, const ModelOptions &options) {
    const char *named = options.device == "auto" ? secure_getenv("EDGELLM_DEVICE") : options.device.c_str();
    plan.device = named && *named ? named : "auto";
    if (plan.device != "auto") {
        plan.backend = create_backend(plan.device, options.reference_kernels);
        plan.backend->free_bytes();  // what its driver takes is then taken, also of memory that it shares with the CPU
        return;
    }
    for (const BackendEntry &entry : backends()) {
        if (options.reference_kernels || options.isa || entry.device == std::string_view("cpu")) continue;
        try {
            std::unique_ptr<Backend> backend = entry.create();
            const uint64_t bytes = backend->layout(plan.weights, {plan.isa}).bytes(), free = backend->free_bytes();
            const Backend::Device device = backend->device();
            if (!device.own_memory || bytes <= free) {
                plan.device = entry.device;
                plan.backend = std::move(backend);
                return;
            }
            options.log(LogLevel::kWarning, "{} is not used: the weights take {} bytes, of which it has {} free",
                        device.description, bytes, free);
        } catch (const Error &error) {
            options.log(error.status() == Status::kNotFound ? LogLevel::kDebug : LogLevel::kWarning,
                        "device {} is not used: {}", entry.device, error.what());
        }
    }
    plan.device = "cpu";
    plan.backend = create_backend(plan.device, options.reference_kernels);
}

Isa choose_isa(std::optional<Isa> cap) {
    if (!cap) return detect_cpu().best;
    const std::optional<Isa> isa = best_isa_below(*cap);
    if (!isa) fail(Status::kUnsupported, "this CPU does not have the instruction set '{}'", isa_name(*cap));
    return *isa;
}

template <typename T> uint64_t bytes_of(const std::vector<T> &items) { return items.size() * sizeof(T); }

uint64_t header_bytes(const GgufFile &file, const Program &program) {
    uint64_t bytes = bytes_of(program.ops) + bytes_of(program.values) + bytes_of(program.constants);
    for (size_t i = 0; i < file.file_count(); ++i) bytes += file.data_offset(i);
    return bytes + 2 * bytes_of(file.tensors()) + file.tensors().size() * sizeof(WeightTensor) +
           bytes_of(file.metadata().entries());
}

void add_weights(ModelPlan &plan, const std::string &device) {
    std::map<Format, uint64_t> by_format;
    for (size_t i = 0; i < plan.weights.size(); ++i)
        if (plan.weights[i].uses) by_format[plan.weights[i].format] += plan.layout.tensor_bytes[i];
    for (auto [format, bytes] : by_format)
        plan.regions.push_back({device, el::format("weights {}", format_info(format).name), bytes});
}

// ---- context

uint32_t fewest_tokens(const ContextOptions &options) {
    return options.eviction == Eviction::kNone ? 1 : 4 * kPageTokens;
}

ContextOptions resolve(ContextOptions options, const ModelSpec &spec) {
    const uint32_t trained = spec.context_length;
    if (options.context_tokens == 0) options.context_tokens = trained;
    if (options.context_tokens > trained)
        fail(Status::kInvalidArgument,
             "context_tokens is {}, but the model was trained with {}; choose no more, and a cache_policy for texts "
             "that go on",
             options.context_tokens, trained);
    if (options.max_sequences == 0 || options.max_sequences > kMaxSequences)
        fail(Status::kInvalidArgument, "max_sequences is {}, must be 1 to {}", options.max_sequences, kMaxSequences);
    if (uint64_t(options.context_tokens) * options.max_sequences > kMaxTokens)
        fail(Status::kInvalidArgument, "context_tokens {} times max_sequences {} is more than {}",
             options.context_tokens, options.max_sequences, kMaxTokens);
    if (options.max_batch_tokens == 0) fail(Status::kInvalidArgument, "max_batch_tokens is 0, must be at least 1");
    options.max_batch_tokens = std::min(options.max_batch_tokens, options.context_tokens * options.max_sequences);
    if (options.eviction != Eviction::kNone) {
        if (options.context_tokens < fewest_tokens(options))
            fail(
                Status::kInvalidArgument,
                "context_tokens is {}; a policy that gives up old tokens needs {}: a page of {} to give up, one of the "
                "first tokens, and some that stay",
                options.context_tokens, fewest_tokens(options), kPageTokens);
        // A step must not push out what it has just read.
        options.max_batch_tokens = std::min(options.max_batch_tokens, options.context_tokens / 2);
    }
    if (options.max_outputs == 0) options.max_outputs = options.max_sequences;
    options.max_outputs = std::min(options.max_outputs, options.max_batch_tokens);
    for (auto [name, format] : {std::pair("cache_k", options.cache_k), std::pair("cache_v", options.cache_v)})
        if (format != Format::kF32 && format != Format::kF16 && format != Format::kQ8_0 && format != Format::kQ4_0)
            fail(Status::kUnsupported, "{} is {}; choose F32, F16, Q8_0 or Q4_0", name, format_info(format).name);
    return options;
}

// The policy 'sinks' turns keys as they lie in the cache.
void check_sinks(const ContextOptions &options, const Program &program) {
    if (options.eviction == Eviction::kSinks && !KeyTurns(program).can_turn)
        fail(Status::kUnsupported, "the policy 'sinks': this model changes keys after their rotation; choose 'window'");
}

CacheLimits cache_limits(const ContextOptions &options, const Program &program) {
    CacheLimits limits;
    limits.max_sequences = options.max_sequences;
    limits.max_rows = (options.context_tokens + kPageTokens - 1) / kPageTokens * kPageTokens;
    limits.max_step_rows = options.max_batch_tokens;
    limits.eviction = options.eviction;
    limits.reuse_prefixes = options.reuse_prefixes && program.state_layers.empty();
    return limits;
}

ExecutableLimits executable_limits(const ContextOptions &options, const CacheLimits &cache, const Program &program) {
    ExecutableLimits limits;
    limits.step.max_tokens = options.max_batch_tokens;
    limits.step.max_sequences = options.max_sequences;
    limits.step.max_outputs = options.max_outputs;
    limits.step.n_axes = program.n_position_axes;
    limits.step.n_groups = static_cast<uint32_t>(program.cache_groups.size());
    limits.step.context = options.context_tokens;
    limits.step.n_state_slots = options.max_sequences * Cache::kStateSlots;
    for (const CacheGroup &group : program.cache_groups) {
        const uint32_t pages = pages_per_sequence(group, cache);
        limits.step.max_pages = std::max(limits.step.max_pages, pages);
        limits.n_pages.push_back(pages * options.max_sequences);
    }
    limits.cache_k = options.cache_k;
    limits.cache_v = options.cache_v;
    limits.stream = options.stream;
    return limits;
}

// The longest text that one generated token can bring out: what a stop string held back, and the token's own bytes,
// each of which may become U+FFFD.
size_t text_buffer_bytes(const Vocabulary *vocabulary) {
    return vocabulary ? kMaxStopBytes + TextStream::max_bytes(*vocabulary) + 1 : 0;
}

// Saved sequences are written and read in pieces of this size, which holds at least one row.
size_t state_buffer_bytes(const Program &program, const ExecutableLimits &limits) {
    size_t bytes = 256 << 10;
    for (const CacheGroup &g : program.cache_groups)
        bytes = std::max(
            bytes, size_t(g.n_layers) * g.n_kv_heads *
                       (cache_row_bytes(limits.cache_k, g.head_dim_k) + cache_row_bytes(limits.cache_v, g.head_dim_v)));
    return bytes;
}

PlannedRegion planned(const MemoryRegion &region, const Program &program, const ExecutableLimits &limits) {
    PlannedRegion result{region.device, region.name, region.bytes};
    result.in_arena = region.in_arena;
    if (region.cache_group < 0) return result;
    const CacheGroup &group = program.cache_groups[size_t(region.cache_group)];
    result.name += el::format(" ({} layer{}, {})", group.n_layers, group.n_layers == 1 ? "" : "s",
                              group.window ? el::format("window {}", group.window) : "full");
    result.n_rows = uint64_t(limits.n_pages[size_t(region.cache_group)]) * kPageTokens;
    result.row_bytes = result.bytes / result.n_rows;
    return result;
}

}  // namespace

ModelPlan plan_model(const GgufFile &file, const Vocabulary *vocabulary, const ModelOptions &options) {
    ModelPlan plan;
    plan.vocabulary = vocabulary;
    const std::string device = "cpu";  // whose memory the header, the vocabulary and the staging are in
    plan.regions.push_back({device, "code", kCodeBytes});
    if (vocabulary) {
        plan.regions.push_back({device, "vocabulary", vocabulary->memory_bytes()});
        // Given back to the heap, which keeps it: it lies between what stays.
        plan.regions.push_back({device, "reading the vocabulary", vocabulary->construction_bytes()});
    }
    if (options.vocabulary_only || file.tensors().empty()) {
        if (!options.vocabulary_only && !vocabulary) resolve_spec(file);  // says what is wrong
        plan.regions.push_back({device, "metadata", header_bytes(file, plan.program)});
        return plan;
    }
    plan.isa = choose_isa(options.isa);
    plan.spec = resolve_spec(file);
    if (vocabulary && uint32_t(vocabulary->size()) > plan.spec.vocab)
        fail(Status::kVocabularyInvalid, "{}: the vocabulary has {} tokens, but tensor token_embd.weight only {} rows",
             file.metadata().source(), vocabulary->size(), plan.spec.vocab);
    plan.program = build_program(plan.spec, file.tensors());
    plan.weights = weight_tensors(file, plan.program);
    choose_backend(plan, options);
    plan.own_memory = plan.backend->device().own_memory;
    plan.layout = plan.backend->layout(plan.weights, {plan.isa});
    plan.regions.push_back({device, "metadata", header_bytes(file, plan.program)});
    add_weights(plan, plan.device);
    if (plan.layout.load_extra_bytes > 0)
        plan.regions.push_back({plan.device, "repacking", plan.layout.load_extra_bytes, true});
    plan.regions.push_back(
        {device, "staging", staging_bytes(file, plan.weights, plan.layout.row_granularity).all(), true});
    for (PlannedRegion &region : plan.regions) region.own_memory = plan.own_memory && region.device != "cpu";
    return plan;
}

ContextPlan plan_context(const ModelPlan &model, const ContextOptions &options) {
    if ((options.stream.given || options.stream.priority != 0) && !model.backend->has_streams())
        fail(Status::kUnsupported,
             "cuda_stream and stream_priority are for models on a GPU; the backend of this one is '{}'",
             model.backend->name());
    ContextPlan plan;
    plan.options = resolve(options, model.spec);
    check_sinks(plan.options, model.program);
    plan.cache = cache_limits(plan.options, model.program);
    plan.limits = executable_limits(plan.options, plan.cache, model.program);
    plan.n_threads = ThreadPool::size_for(plan.options.threads);
    plan.text_bytes = text_buffer_bytes(model.vocabulary);
    plan.state_bytes = state_buffer_bytes(model.program, plan.limits);

    ArenaSizer sizer;
    size_t begin = 0;
    lay_out_context(model.program, plan, sizer, [&](const char *name) {
        plan.regions.push_back({"cpu", name, sizer.bytes() - begin});
        begin = sizer.bytes();
    });
    for (const MemoryRegion &region : model.backend->memory(model.program, plan.limits, plan.n_threads))
        plan.regions.push_back(planned(region, model.program, plan.limits));
    std::erase_if(plan.regions, [](const PlannedRegion &region) { return region.bytes == 0; });
    for (PlannedRegion &region : plan.regions) region.own_memory = model.own_memory && region.device != "cpu";
    return plan;
}

uint32_t max_context(const ModelPlan &model, ContextOptions options, const Room &room) {
    auto fits = [&](uint64_t tokens) {
        options.context_tokens = static_cast<uint32_t>(tokens);
        try {
            return room.holds(plan_context(model, options).regions);
        } catch (const Error &error) {
            if (error.status() != Status::kOutOfMemory) throw;
            return false;  // more than the address space holds
        }
    };
    const uint64_t fewest = fewest_tokens(options);
    uint64_t fitting = fewest - 1,
             too_many = std::min<uint64_t>(model.spec.context_length, kMaxTokens / options.max_sequences) + 1;
    while (too_many > fitting + 1) {
        const uint64_t middle = (fitting + too_many) / 2;
        (fits(middle) ? fitting : too_many) = middle;
    }
    return fitting >= fewest ? static_cast<uint32_t>(fitting) : 0;
}

MemoryPlan plan_memory(const std::string &path, const ModelOptions &model_options,
                       const ContextOptions &context_options) {
    const GgufFile file = GgufFile::open(path, model_options.log);
    const std::unique_ptr<const Vocabulary> vocabulary = Vocabulary::from_metadata(file.metadata(), model_options.log);
    ModelPlan model = plan_model(file, vocabulary.get(), model_options);
    MemoryPlan plan;
    plan.budget_bytes = Budget(model_options.budget_bytes).available();
    plan.regions = std::move(model.regions);
    plan.load_peak_bytes = peak_bytes(plan.regions);
    plan.resident_bytes = resident_bytes(plan.regions);
    Room room = model.room(plan.budget_bytes);
    plan.fits = room.holds(plan.regions);
    if (!model.backend) return plan;
    const ContextPlan context = plan_context(model, context_options);
    plan.context_tokens = context.options.context_tokens;
    if (plan.fits) {
        room.budget -= plan.resident_bytes;
        if (model.own_memory) room.device -= resident_bytes(plan.regions, true);
        plan.fits = room.holds(context.regions);
        plan.max_context = max_context(model, context_options, room);
    }
    plan.regions.insert(plan.regions.end(), context.regions.begin(), context.regions.end());
    plan.resident_bytes = resident_bytes(plan.regions);
    return plan;
}

}  // namespace el
