#include "compute.h"
#include "interrupt.h"
#include "output.h"

#include "engine/backends.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>
#include <tuple>

namespace tool {
namespace {

constexpr int32_t kDefaultBatch = 512;
constexpr size_t kLogitsBytes = size_t{64} << 20;
constexpr size_t kFewestToDrop = 128;  // tokens of a context whose policy drops some

constexpr std::pair<std::string_view, edgellm_format> kCacheFormats[] = {{"f32", EDGELLM_FORMAT_F32},
                                                                         {"f16", EDGELLM_FORMAT_F16},
                                                                         {"q8_0", EDGELLM_FORMAT_Q8_0},
                                                                         {"q4_0", EDGELLM_FORMAT_Q4_0}};

std::optional<edgellm_format> cache_format(std::string_view name) {
    for (auto [known, format] : kCacheFormats)
        if (name == known) return format;
    return std::nullopt;
}

// "f16", or "q8_0,f16" for K and V; nothing if it is neither.
std::optional<std::pair<edgellm_format, edgellm_format>> cache_formats(std::string_view option) {
    const size_t comma = option.find(',');
    auto k = cache_format(option.substr(0, comma));
    auto v = comma == option.npos ? k : cache_format(option.substr(comma + 1));
    if (!k || !v) return std::nullopt;
    return std::pair(*k, *v);
}

// "6G" is 6e9, "6Gi" 6 * 2^30, "1.5M" 1.5e6; nothing for what is no number above 0.
std::optional<uint64_t> budget_bytes(const std::string &text) {
    static constexpr std::pair<std::string_view, double> kUnits[] = {
        {"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}};
    const size_t end = text.find_first_not_of("0123456789.");
    const std::string number = text.substr(0, end), unit = end == text.npos ? "" : text.substr(end);
    if (number.empty() || number[0] == '.' || std::count(number.begin(), number.end(), '.') > 1) return std::nullopt;
    for (auto [name, factor] : kUnits) {
        const double bytes = std::strtod(number.c_str(), nullptr) * factor;
        if (unit == name && bytes >= 1 && bytes < 0x1p63) return static_cast<uint64_t>(bytes);
    }
    return std::nullopt;
}

edgellm_cache_policy cache_policy(std::string_view name) {
    return name == "window" ? EDGELLM_CACHE_WINDOW : name == "sinks" ? EDGELLM_CACHE_SINKS : EDGELLM_CACHE_FULL;
}

edgellm::ModelOptions model_options() {
    edgellm::ModelOptions options;
    options.log_level = EDGELLM_LOG_WARNING;
    options.log = [last = std::string()](edgellm_log_level, std::string_view text) mutable {
        if (text != last) note("warning: {}", printable(text));  // a chat may say it for every answer
        last = text;
    };
    return options;
}

edgellm::ModelOptions model_options(const ComputeOptions &from) {
    edgellm::ModelOptions options = model_options();
    options.device = from.device;
    options.isa = from.isa;
    options.kernels = from.kernels == "reference" ? EDGELLM_KERNELS_REFERENCE : EDGELLM_KERNELS_AUTO;
    options.budget_bytes = budget_of(from);
    return options;
}

}  // namespace

uint64_t budget_of(const ComputeOptions &options) {
    return options.budget.empty() ? EDGELLM_BUDGET_AVAILABLE : budget_bytes(options.budget).value();
}

std::pair<edgellm_format, edgellm_format> cache_formats_of(const ComputeOptions &options) {
    return cache_formats(options.kv).value();
}

namespace {

// -1 where the text is no whole number of as many tokens as there can be, or begins with zeros.
int32_t whole_number(const std::string &text) {
    int32_t n = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    return whole && (text[0] != '0' || text.size() == 1) ? n : -1;
}

}  // namespace

std::string positive(const std::string &text) { return whole_number(text) > 0 ? "" : "must be a whole number above 0"; }

std::string not_negative(const std::string &text) {
    return whole_number(text) >= 0 ? "" : "must be a whole number, 0 or above";
}

void add_model_option(CLI::App &command, std::string &path) {
    command.add_option("-m,--model", path, "model file (GGUF)")->required()->type_name("FILE");
}

void add_compute_options(CLI::App &command, ComputeOptions &options) {
    add_model_option(command, options.model);
    add_engine_options(command, options);
}

void add_engine_options(CLI::App &command, ComputeOptions &options) {
    command.add_option("-t,--threads", options.threads, "threads (default: one per physical core)")->check(positive);
    command.add_option("-c,--context", options.context, "tokens of context (default: what the work needs)")
        ->check(positive);
    command.add_option("--kernels", options.kernels, "auto, or reference: slow float32 functions to compare with")
        ->check(CLI::IsMember({"auto", "reference"}));
    command.add_option("--kv", options.kv, "format of the KV cache: f16, f32, q8_0, q4_0, or two of them as K,V")
        ->type_name("FORMAT")
        ->check([](const std::string &option) {
            return cache_formats(option) ? std::string() : "must be f16, f32, q8_0 or q4_0, or two of them as K,V";
        });
    command
        .add_option(
            "--cache-policy", options.policy,
            "when the context is full: full: stop; window: drop the oldest tokens; sinks: drop the oldest but the "
            "first ones")
        ->check(CLI::IsMember({"full", "window", "sinks"}));
    command.add_option("--batch", options.batch, "tokens of the largest step")->check(positive);
    command.add_option("--device", options.device, "cpu, cuda or auto")->check(CLI::IsMember({"cpu", "cuda", "auto"}));
    command
        .add_option("--budget", options.budget, "memory to take at most: 6G, 800M, 512Mi (default: what is available)")
        ->type_name("BYTES")
        ->check([](const std::string &option) {
            return budget_bytes(option) ? std::string()
                                        : "must be a number above 0 of bytes, or with K, M, G, Ki, Mi, Gi";
        });
    command.add_option("--isa", options.isa, "cap of the CPU's instruction set")
        ->check(CLI::IsMember({"scalar", "avx2", "avx512", "neon"}));
}

edgellm_device_info device_info(const std::string &name) {
    const std::vector<edgellm_device_info> all = edgellm::devices();
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto &device) { return device.name == name; });
    return found == all.end() ? all.front() : *found;
}

el::DeviceRates measure_device(const ComputeOptions &options, const std::string &device) {
    el::ThreadPoolOptions threads;
    threads.threads = options.threads;
    el::ThreadPool pool(threads);
    el::BackendOptions backend;
    backend.isa = el::detect_cpu().best;
    if (!options.isa.empty()) backend.isa = el::best_isa_below(*el::parse_isa(options.isa)).value_or(backend.isa);
    for (const el::BackendEntry &entry : el::backends())
        if (device == entry.device && entry.reference == (options.kernels == "reference"))
            return entry.create()->measure(backend, pool);
    return {};
}

edgellm::MemoryPlan memory_plan(const ComputeOptions &from) {
    edgellm::ContextOptions context;
    context.context_tokens = from.context;
    context.max_batch_tokens = from.batch ? from.batch : kDefaultBatch;
    context.n_threads = from.threads;
    std::tie(context.cache_k, context.cache_v) = cache_formats_of(from);
    context.cache_policy = cache_policy(from.policy);
    return edgellm::MemoryPlan(from.model, model_options(from), context);
}

edgellm::Model load_vocabulary(const std::string &path) {
    edgellm::ModelOptions options = model_options();
    options.vocabulary_only = true;
    return edgellm::Model(path, options);
}

edgellm::Model load(const ComputeOptions &from) {
    edgellm::ModelOptions options = model_options(from);
    std::optional<Progress> progress;
    options.progress = [&](uint64_t done, uint64_t total) {
        if (!progress) progress.emplace("loading", total);
        progress->at(done);
        check_interrupt();
        return true;
    };
    edgellm::Model model(from.model, options);
    if (!(model.info().flags & EDGELLM_MODEL_HAS_WEIGHTS))
        fail("{} has no weights, only metadata and a vocabulary", from.model);
    return model;
}

edgellm::ContextOptions context_options(const ComputeOptions &from, const edgellm::Model &model, size_t tokens) {
    const int32_t trained = model.info().trained_context_tokens;
    edgellm::ContextOptions options;
    options.context_tokens = from.context;
    if (from.policy != "full") tokens = std::max(tokens, kFewestToDrop);
    if (!from.context) options.context_tokens = static_cast<int32_t>(std::min<size_t>(tokens, trained));
    options.max_batch_tokens = std::min(from.batch ? from.batch : kDefaultBatch, options.context_tokens);
    options.n_threads = from.threads;
    std::tie(options.cache_k, options.cache_v) = cache_formats_of(from);
    options.cache_policy = cache_policy(from.policy);
    return options;
}

edgellm::ContextOptions rows_options(const ComputeOptions &from, const edgellm::Model &model, size_t tokens) {
    edgellm::ContextOptions options = context_options(from, model, tokens);
    if (!from.batch) {
        const size_t row_bytes = static_cast<size_t>(model.info().n_vocab) * sizeof(float);
        const size_t rows = std::max<size_t>(kLogitsBytes / std::max<size_t>(row_bytes, 1), 1);
        options.max_batch_tokens = static_cast<int32_t>(std::min<size_t>(options.max_batch_tokens, rows));
    }
    options.max_outputs = options.max_batch_tokens;
    return options;
}

void decode_rows(edgellm::Context &context, std::span<const edgellm::Token> tokens, size_t first,
                 const std::function<void(size_t, std::span<const float>)> &row) {
    const auto step = static_cast<size_t>(context.info().max_batch_tokens);
    std::vector<uint8_t> outputs(step);
    for (size_t begin = 0; begin < tokens.size(); begin += step) {
        check_interrupt();
        const size_t n = std::min(step, tokens.size() - begin);
        for (size_t i = 0; i < n; ++i) outputs[i] = begin + i >= first;
        edgellm_batch batch = EDGELLM_BATCH_INIT;
        batch.n_tokens = static_cast<int32_t>(n);
        batch.tokens = tokens.data() + begin;
        batch.outputs = outputs.data();
        const size_t n_rows = context.decode(batch);
        for (size_t i = 0; i < n_rows; ++i) row(begin + n - n_rows + i, context.logits(i));
    }
}

std::vector<int32_t> parse_numbers(std::string_view text, const char *what) {
    auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
    auto skip_space = [&] {
        while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    };
    skip_space();
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
    std::vector<int32_t> numbers;
    for (skip_space(); !text.empty(); skip_space()) {
        int32_t number = 0;
        auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        if (error != std::errc() || number < 0)
            throw UsageError(el::format("'{}' is no {}", printable(text.substr(0, 20)), what));
        numbers.push_back(number);
        const char *before = text.data();
        text.remove_prefix(static_cast<size_t>(end - before));
        const bool space = !text.empty() && is_space(text.front());
        skip_space();
        if (!text.empty() && text.front() == ',') {
            text.remove_prefix(1);
            skip_space();
            if (text.empty()) throw UsageError(el::format("a {} is missing after the last comma", what));
        } else if (!text.empty() && !space) {
            throw UsageError(el::format("'{}' does not end a {}; use commas", printable(text.substr(0, 20)), what));
        }
    }
    return numbers;
}

}  // namespace tool
