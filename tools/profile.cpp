// edgellm profile: what the time of a step goes to, and why.
#include "commands.h"
#include "compute.h"
#include "interrupt.h"
#include "json.h"
#include "work.h"

#include "engine/context.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>

namespace tool {
namespace {

struct Options {
    ComputeOptions compute;
    size_t prefill = 512, decode = 32, depth = 0;
    bool json = false;
};

// A stage, or several that have something in common.
struct Part {
    std::string name;
    int32_t layer = -1;  // -1: before or after the layers
    size_t count = 1;
    double seconds = 0;
    Work work;
};

struct Phase {
    size_t tokens = 0;
    double step_seconds = 0;           // as steps are run
    std::vector<Part> stages;          // one by one
    std::vector<std::string> op_kind;  // per stage: of the op that moves most bytes

    double stage_seconds() const {
        double sum = 0;
        for (const Part &stage : stages) sum += stage.seconds;
        return sum;
    }
    // Those with the same key as one, in the order of their first ones.
    template <typename Key> std::vector<Part> together(Key key) const {
        std::vector<Part> groups;
        std::map<std::string, size_t> place;
        for (size_t i = 0; i < stages.size(); ++i) {
            const std::string name = key(i);
            const auto [found, is_new] = place.emplace(name, groups.size());
            if (is_new) groups.push_back({name, stages[i].layer, 0, 0, {}});
            Part &group = groups[found->second];
            ++group.count;
            group.seconds += stages[i].seconds;
            group.work += stages[i].work;
        }
        return groups;
    }
    std::vector<Part> by_stage() const {
        return slowest_first(together([&](size_t i) { return stages[i].name; }));
    }
    std::vector<Part> by_op_kind() const {
        return slowest_first(together([&](size_t i) { return op_kind[i]; }));
    }
    std::vector<Part> by_layer() const {
        return together([&](size_t i) { return stages[i].layer < 0 ? "none" : std::to_string(stages[i].layer); });
    }
    static std::vector<Part> slowest_first(std::vector<Part> parts) {
        std::stable_sort(parts.begin(), parts.end(),
                         [](const Part &a, const Part &b) { return a.seconds > b.seconds; });
        return parts;
    }
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

el::ModelOptions model_options(const ComputeOptions &from) {
    el::ModelOptions options;
    options.device = from.device;
    options.reference_kernels = from.kernels == "reference";
    if (!from.isa.empty()) options.isa = el::parse_isa(from.isa);
    options.budget_bytes = budget_of(from);
    return options;
}

el::ContextOptions context_options(const ComputeOptions &from, const el::Model &model, size_t tokens, size_t step) {
    const size_t trained = model.spec().context_length;
    el::ContextOptions options;
    options.context_tokens = from.context ? uint32_t(from.context) : uint32_t(std::min(tokens, trained));
    if (tokens > options.context_tokens)
        fail("-p, -n and --depth want {} tokens of context, and there are {}", tokens, options.context_tokens);
    if (from.batch) options.max_batch_tokens = uint32_t(from.batch);
    // The tokens before come in steps as large as that, too.
    options.max_batch_tokens = std::max(options.max_batch_tokens, uint32_t(step));
    const auto [k, v] = cache_formats_of(from);
    options.cache_k = static_cast<el::Format>(k);
    options.cache_v = static_cast<el::Format>(v);
    options.threads.threads = from.threads;
    if (from.policy != "full") throw UsageError("profile measures steps; --cache-policy has no part in them");
    return options;
}

class Profiler {
  public:
    Profiler(const Options &options, const std::shared_ptr<const el::Model> &model)
        : depth_(options.depth), program_(model->program()),
          context_(model, context_options(options.compute, *model,
                                          options.depth + std::max({options.prefill, options.decode, size_t{1}}),
                                          options.prefill)),
          rates_(measure_device(options.compute, model->device())),
          any_token_(0, static_cast<int32_t>(model->n_vocab()) - 1) {
        begin();
        step(1);  // so that nothing happens for the first time below
    }

    const el::DeviceRates &rates() const { return rates_; }
    int n_threads() const { return context_.n_threads(); }

    Phase prefill(size_t n) {
        return measure(n, depth_, kPrefills, [&] {
            begin();
            return step(n);
        });
    }
    Phase decode(size_t n) {
        size_t left = 0;
        return measure(1, depth_ + n / 2, n, [&] {
            if (left == 0) begin(), left = n;
            --left;
            return step(1);
        });
    }

  private:
    static constexpr size_t kPrefills = 5;
    static constexpr double kMostSeconds = 3;  // of a measurement that has taken one sample
    using Clock = std::chrono::steady_clock;

    // Of up to n samples, first as steps are run, then stage by stage.
    template <typename Sample> Phase measure(size_t tokens, size_t depth, size_t n, Sample sample) {
        Phase phase;
        phase.tokens = tokens;
        std::vector<double> steps;
        repeat(n, [&] { steps.push_back(sample()); });
        phase.step_seconds = median(steps);
        std::vector<std::vector<double>> seconds;  // [stage][sample]
        std::vector<el::StageTime> times;
        context_.time_stages(&times);
        repeat(n, [&] {
            sample();
            seconds.resize(times.size());
            for (size_t i = 0; i < times.size(); ++i) seconds[i].push_back(times[i].seconds);
        });
        context_.time_stages(nullptr);
        if (times.empty()) fail("this backend cannot time its stages");
        StepShape shape;
        shape.tokens = double(tokens);
        shape.depth = double(depth);
        shape.cache_k = context_.options().cache_k;
        shape.cache_v = context_.options().cache_v;
        for (size_t i = 0; i < times.size(); ++i) add(phase, times[i].ops, median(seconds[i]), shape);
        return phase;
    }

    template <typename Function> static void repeat(size_t n, Function function) {
        const Clock::time_point begin = Clock::now();
        for (size_t i = 0; i < n; ++i) {
            check_interrupt();
            function();
            if (std::chrono::duration<double>(Clock::now() - begin).count() > kMostSeconds) break;
        }
    }

    void add(Phase &phase, const std::vector<uint32_t> &ops, double seconds, const StepShape &shape) const {
        if (ops.empty()) return;
        Part part;
        part.seconds = seconds;
        part.work = work_of(program_, ops, shape);
        const el::Op *heaviest = nullptr, *before = nullptr;
        double most = -1;
        for (size_t i = 0, run = 0; i < ops.size(); ++i) {
            const el::Op &op = program_.ops[ops[i]];
            if (part.layer < 0) part.layer = op.layer;
            const double bytes = work_of(program_, op, shape).bytes();
            if (bytes > most) most = bytes, heaviest = &op;
            run = before && before->kind == op.kind ? run + 1 : 1;
            before = &op;
            if (i + 1 < ops.size() && program_.ops[ops[i + 1]].kind == op.kind) continue;
            if (!part.name.empty()) part.name += ", ";
            part.name += run > 1 ? el::format("{} {}", run, el::op_name(op.kind)) : el::op_name(op.kind);
        }
        phase.op_kind.push_back(el::op_name(heaviest->kind));
        phase.stages.push_back(part);
    }

    void begin() {
        el::Report report;
        const uint32_t length = context_.length(0);
        if (length > depth_ && context_.remove(0, int32_t(depth_), INT32_MAX, report) != el::Status::kOk)
            context_.clear(0);
        while (context_.length(0) < depth_)
            step(std::min<size_t>(depth_ - context_.length(0), context_.options().max_batch_tokens));
    }

    // Returns seconds.
    double step(size_t n) {
        check_interrupt();
        std::vector<int32_t> tokens(n);
        for (int32_t &token : tokens) token = any_token_(random_);
        el::Batch batch;
        batch.tokens = tokens.data();
        batch.n = n;
        el::Report report;
        const Clock::time_point begin = Clock::now();
        if (context_.decode(batch, report) != el::Status::kOk) fail("{}", report.text);
        return std::chrono::duration<double>(Clock::now() - begin).count();
    }

    const size_t depth_;
    const el::Program &program_;
    el::Context context_;
    const el::DeviceRates rates_;
    std::mt19937 random_{1};
    std::uniform_int_distribution<int32_t> any_token_;
};

// ---- output

double share(double of, double all) { return all > 0 ? 100 * of / all : 0; }
double per_second(double n, double seconds) { return seconds > 0 ? n / seconds : 0; }

Json part_json(const Part &part, const Phase &phase, const el::DeviceRates &rates) {
    const double read = per_second(part.work.bytes(), part.seconds);
    return {{"name", part.name},
            {"layer", part.layer < 0 ? Json(nullptr) : Json(part.layer)},
            {"count", part.count},
            {"us", part.seconds * 1e6},
            {"percent_of_time", share(part.seconds, phase.stage_seconds())},
            {"weight_bytes", part.work.weight_bytes},
            {"cache_bytes", part.work.cache_bytes},
            {"value_bytes", part.work.value_bytes},
            {"flops", part.work.flops},
            {"gb_per_s", read / 1e9},
            {"percent_of_read", share(read, rates.read_bytes_per_s)},
            {"gflop_per_s", per_second(part.work.flops, part.seconds) / 1e9},
            {"bound", bound_name(bound_of(part.work, part.seconds, rates))}};
}

Json phase_json(const Phase &phase, const Options &options, const el::DeviceRates &rates) {
    auto list = [&](const std::vector<Part> &parts, std::initializer_list<const char *> without) {
        Json all = Json::array();
        for (const Part &part : parts) {
            Json one = part_json(part, phase, rates);
            for (const char *key : without) one.erase(key);
            all.push_back(one);
        }
        return all;
    };
    std::vector<Part> layers = phase.by_layer();
    std::erase_if(layers, [](const Part &part) { return part.layer < 0; });
    return {{"tokens", phase.tokens},
            {"depth", options.depth},
            {"step_us", phase.step_seconds * 1e6},
            {"stages_us", phase.stage_seconds() * 1e6},
            {"stage_kinds", list(phase.by_stage(), {"layer"})},
            {"op_kinds", list(phase.by_op_kind(), {"layer"})},
            {"layers", list(layers, {"name"})},
            {"stages", list(phase.stages, {"count"})}};
}

void put_table(const char *title, const std::vector<Part> &parts, const Phase &phase, const el::DeviceRates &rates) {
    size_t wide = std::string_view(title).size();
    for (const Part &part : parts) wide = std::max(wide, part.name.size());
    put(el::format("\n{:<{}} {:>5} {:>11} {:>6} {:>10} {:>8} {:>6} {:>9}  {}\n", title, wide, "count", "us", "%", "MB",
                   "GB/s", "read %", "GFLOP/s", "bound"));
    for (const Part &part : parts) {
        const double read = per_second(part.work.bytes(), part.seconds);
        put(el::format("{:<{}} {:>5} {:>11.1f} {:>6.1f} {:>10.3f} {:>8.1f} {:>6.1f} {:>9.1f}  {}\n", part.name, wide,
                       part.count, part.seconds * 1e6, share(part.seconds, phase.stage_seconds()),
                       part.work.bytes() / 1e6, read / 1e9, share(read, rates.read_bytes_per_s),
                       per_second(part.work.flops, part.seconds) / 1e9,
                       bound_name(bound_of(part.work, part.seconds, rates))));
    }
}

void put_layers(const Phase &phase) {
    constexpr size_t kPerLine = 8;
    size_t n = 0;
    for (const Part &part : phase.by_layer()) {
        if (part.layer < 0) continue;
        if (n % kPerLine == 0) put(el::format("{}layer {:>3}, us", n == 0 ? "\n" : "", part.layer));
        put(el::format(" {:>9.1f}{}", part.seconds * 1e6, ++n % kPerLine == 0 ? "\n" : ""));
    }
    if (n % kPerLine) put("\n");
}

void put_phase(const char *name, const Phase &phase, const Options &options, const el::DeviceRates &rates) {
    put(el::format("\n{} of {} token{} after {}: {:.1f} us a step; its stages, timed one by one, {:.1f} us\n", name,
                   phase.tokens, phase.tokens == 1 ? "" : "s", options.depth, phase.step_seconds * 1e6,
                   phase.stage_seconds() * 1e6));
    put_table("stage", phase.by_stage(), phase, rates);
    put_table("op", phase.by_op_kind(), phase, rates);
    put_layers(phase);
    flush();
}

std::shared_ptr<const el::Model> load_model(const ComputeOptions &from) {
    el::ModelOptions options = model_options(from);
    std::optional<Progress> progress;
    options.progress_user = &progress;
    options.progress = [](void *user, uint64_t done, uint64_t total) {
        auto &shown = *static_cast<std::optional<Progress> *>(user);
        if (!shown) shown.emplace("loading", total);
        shown->at(done);
        return interrupted() || asked_to_end() ? 1 : 0;
    };
    std::shared_ptr<const el::Model> model = el::Model::load(from.model, options);
    if (!model->has_weights()) fail("{} has no weights, only metadata and a vocabulary", from.model);
    return model;
}

void profile(const Options &options) {
    if (!options.prefill && !options.decode) throw UsageError("-p 0 and -n 0 leave nothing to measure");
    edgellm::devices();  // makes backends known
    const std::shared_ptr<const el::Model> model = load_model(options.compute);
    const edgellm_device_info device = device_info(model->device());
    Profiler profiler(options, model);
    const el::DeviceRates &rates = profiler.rates();
    const std::string name = std::filesystem::path(options.compute.model).filename();
    const bool cpu = device.kind == EDGELLM_DEVICE_CPU;
    const std::string kernels = options.compute.kernels == "reference" ? "reference" : el::isa_name(model->isa());
    Json json = {{"model", name},
                 {"device", device.name},
                 {"description", device.description},
                 {"threads", profiler.n_threads()},
                 {"isa", cpu ? Json(kernels) : Json(nullptr)},
                 {"read_gb_per_s", rates.read_bytes_per_s / 1e9},
                 {"matrix_gflop_per_s", rates.matrix_flops_per_s / 1e9},
                 {"prefill", nullptr},
                 {"decode", nullptr}};
    if (!options.json)
        put(el::format("{}: {}; it reads {:.1f} GB/s and multiplies {:.0f} GFLOP/s\n", printable(name),
                       cpu ? el::format("{} threads, cpu, {}", profiler.n_threads(), kernels)
                           : el::format("{}, {}", device.name, device.description),
                       rates.read_bytes_per_s / 1e9, rates.matrix_flops_per_s / 1e9));
    auto show = [&](const char *key, const Phase &phase) {
        json[key] = phase_json(phase, options, rates);
        if (!options.json) put_phase(key, phase, options, rates);
    };
    if (options.prefill) show("prefill", profiler.prefill(options.prefill));
    if (options.decode) show("decode", profiler.decode(options.decode));
    if (options.json) put_json(json);
}

}  // namespace

void add_profile(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand(
        "profile", "what the time of a step goes to, by stage, kind of op and layer, and what bounds each");
    command->footer(
        "A stage is a run of ops that are done as one; the table of ops counts it for the op that moves most bytes. "
        "What bounds it: bytes or flops, if moving or computing "
        "them at the rate that the device was just measured to have explains at least half of its time, or "
        "else latency. Timing stages one by one takes time itself, and on a GPU they cannot overlap then, so "
        "that their sum is more than a step takes.");
    add_compute_options(*command, options->compute);
    command->add_option("-p,--prefill", options->prefill, "tokens of a step of prefill; 0: none")
        ->check(not_negative)
        ->capture_default_str();
    command->add_option("-n,--decode", options->decode, "steps of one token to take medians of; 0: none")
        ->check(not_negative)
        ->capture_default_str();
    command->add_option("--depth", options->depth, "tokens in the context before")
        ->check(not_negative)
        ->capture_default_str();
    command->add_flag("--json", options->json, "print JSON");
    command->callback([options] { profile(*options); });
}

}  // namespace tool
