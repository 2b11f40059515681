// edgellm bench: tokens per second. Counts like llama.cpp's llama-bench: prefill works off random tokens in steps and
// wants the last logits; decode adds one token at a time.
#include "commands.h"
#include "compute.h"
#include "interrupt.h"
#include "json.h"
#include "session.h"
#include "work.h"

#include "base/cpu_info.h"
#include "model/gguf.h"
#include "program/build.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <thread>

namespace tool {
namespace {

struct Options {
    ComputeOptions compute;
    size_t prefill = 512, decode = 128, repetitions = 5;
    std::string depths = "0", sequences;
    bool latency = false, json = false;
};

class Samples {
  public:
    void add(double x) { values_.push_back(x); }
    bool empty() const { return values_.empty(); }
    double mean() const {
        double sum = 0;
        for (double x : values_) sum += x;
        return sum / double(values_.size());
    }
    double stddev() const {
        if (values_.size() < 2) return 0;
        double sum = 0, m = mean();
        for (double x : values_) sum += (x - m) * (x - m);
        return std::sqrt(sum / double(values_.size() - 1));
    }

    double median() const {
        const std::vector<double> all = sorted();
        return (all[(all.size() - 1) / 2] + all[all.size() / 2]) / 2;
    }
    // The value that a share of 0 to 1 of all does not exceed.
    double quantile(double share) const {
        const auto rank = static_cast<size_t>(std::ceil(share * double(values_.size())));
        return sorted()[std::max<size_t>(rank, 1) - 1];
    }

  private:
    std::vector<double> sorted() const {
        std::vector<double> all = values_;
        std::sort(all.begin(), all.end());
        return all;
    }

    std::vector<double> values_;
};

struct Result {
    size_t depth = 0;
    Samples prefill, decode, ttft_ms;  // tokens/s, tokens/s, ms
    double decode_bytes = 0;           // that one token reads, on average
    double device_bytes_per_s = 0;     // that the device can read; 0: not known
    double first_decode = 0;           // tokens/s at the first depth

    double read_bytes_per_s() const { return decode.mean() * decode_bytes; }
    double percent_of_read() const { return 100 * read_bytes_per_s() / device_bytes_per_s; }
    double percent_of_first() const { return 100 * (decode.mean() / first_decode); }
};

struct SequencesResult {
    size_t n = 0;
    Samples decode;  // tokens/s of all together
};

struct Latency {
    Samples token_ms, cancel_ms;
};

// What a token reads, told from the file's ops.
class Traffic {
  public:
    Traffic(const std::string &path, const edgellm_context_info &context) {
        const el::GgufFile file = el::GgufFile::open(path);
        program_ = el::build_program(el::resolve_spec(file), file.tensors());
        shape_.cache_k = static_cast<el::Format>(context.cache_k);
        shape_.cache_v = static_cast<el::Format>(context.cache_v);
    }
    double bytes(double depth) const {
        StepShape shape = shape_;
        shape.depth = depth;
        Work work;
        for (const el::Op &op : program_.ops) work += work_of(program_, op, shape);
        return work.bytes();
    }

  private:
    el::Program program_;
    StepShape shape_;
};

class Bench {
  public:
    Bench(const Options &options, const edgellm::Model &model, size_t tokens, size_t max_sequences)
        : options_(options),
          context_(model, with_sequences(context_options(options.compute, model, tokens), max_sequences)),
          traffic_(options.compute.model, context_.info()), any_token_(0, model.info().n_vocab - 1) {}

    edgellm_context_info context() const { return context_.info(); }

    Result measure(size_t depth) {
        Result result;
        result.depth = depth;
        result.decode_bytes = traffic_.bytes(double(depth) + double(options_.decode) / 2);
        for (size_t i = 0; i < options_.repetitions; ++i) {
            if (options_.prefill) measure_prefill(result);
            if (options_.decode) measure_decode(result);
        }
        return result;
    }

    // Each step brings one token to each of n sequences.
    SequencesResult measure_sequences(size_t n) {
        SequencesResult result{n, {}};
        std::vector<edgellm_sequence> sequences(n);
        std::iota(sequences.begin(), sequences.end(), 0);
        const std::vector<uint8_t> outputs(n, 1);
        for (size_t i = 0; i < options_.repetitions; ++i) {
            for (edgellm_sequence s : sequences) context_.sequence_remove(s);
            auto start = Clock::now();
            for (size_t t = 0; t < options_.decode; ++t) {
                check_interrupt();
                const std::vector<edgellm::Token> tokens = random_tokens(n);
                edgellm_batch batch = EDGELLM_BATCH_INIT;
                batch.n_tokens = static_cast<int32_t>(n);
                batch.tokens = tokens.data();
                batch.sequences = sequences.data();
                batch.outputs = outputs.data();
                context_.decode(batch);
            }
            result.decode.add(double(n * options_.decode) / seconds_since(start));
        }
        for (edgellm_sequence s : sequences) context_.sequence_remove(s);
        return result;
    }

    Latency measure_latency() {
        Latency result;
        for (size_t i = 0; i < options_.repetitions; ++i) {
            begin_at(0);
            for (size_t t = 0; t < options_.decode; ++t) {
                auto start = Clock::now();
                decode_one();
                result.token_ms.add(seconds_since(start) * 1000);
            }
            result.cancel_ms.add(cancel_delay_ms());
        }
        return result;
    }

    void warm_up() {
        begin_at(0);
        prefill(std::max<size_t>(options_.prefill, 1));
        begin_at(0);
        decode_one();
    }

  private:
    using Clock = std::chrono::steady_clock;
    static edgellm::ContextOptions with_sequences(edgellm::ContextOptions options, size_t n) {
        options.max_sequences = static_cast<int32_t>(n);
        options.max_batch_tokens = std::max(options.max_batch_tokens, options.max_sequences);
        return options;
    }

    // From a cancel in another thread, in the middle of a prefill, until the call has returned.
    double cancel_delay_ms() {
        std::atomic<Clock::time_point> cancelled{Clock::time_point()};
        std::jthread canceller([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
            cancelled = Clock::now();
            context_.cancel();
        });
        try {
            for (;;) {
                begin_at(0);
                prefill(std::max<size_t>(options_.prefill, 1));
            }
        } catch (const edgellm::Error &error) {
            if (error.status() != EDGELLM_CANCELLED) throw;
        }
        return seconds_since(cancelled) * 1000;
    }

    static double seconds_since(Clock::time_point start) {
        return std::chrono::duration<double>(Clock::now() - start).count();
    }

    void measure_prefill(Result &result) {
        begin_at(result.depth);
        const std::vector<edgellm::Token> tokens = random_tokens(options_.prefill);
        auto start = Clock::now();
        prefill(tokens);
        result.prefill.add(double(tokens.size()) / seconds_since(start));
        context_.top(1);  // the first token of an answer
        result.ttft_ms.add(seconds_since(start) * 1000);
    }

    void measure_decode(Result &result) {
        begin_at(result.depth);
        auto start = Clock::now();
        for (size_t i = 0; i < options_.decode; ++i) decode_one();
        result.decode.add(double(options_.decode) / seconds_since(start));
    }

    void begin_at(size_t depth) {
        auto length = static_cast<size_t>(context_.sequence_length());
        if (length > depth) length = go_back(context_, depth);
        if (length < depth) prefill(depth - length);
    }

    void prefill(size_t n) { prefill(random_tokens(n)); }
    void prefill(std::span<const edgellm::Token> tokens) {
        const auto step = static_cast<size_t>(context_.info().max_batch_tokens);
        const std::vector<uint8_t> no_outputs(step);
        for (size_t begin = 0; begin < tokens.size(); begin += step) {
            check_interrupt();
            const size_t n = std::min(step, tokens.size() - begin);
            edgellm_batch batch = EDGELLM_BATCH_INIT;
            batch.n_tokens = static_cast<int32_t>(n);
            batch.tokens = tokens.data() + begin;
            if (begin + n < tokens.size()) batch.outputs = no_outputs.data();
            context_.decode(batch);
        }
    }

    void decode_one() {
        check_interrupt();
        const edgellm::Token token = any_token_(random_);
        context_.decode(std::span(&token, 1));
    }

    std::vector<edgellm::Token> random_tokens(size_t n) {
        std::vector<edgellm::Token> tokens(n);
        for (edgellm::Token &token : tokens) token = any_token_(random_);
        return tokens;
    }

    const Options &options_;
    edgellm::Context context_;
    Traffic traffic_;
    std::mt19937 random_{1};
    std::uniform_int_distribution<edgellm::Token> any_token_;
};

Json rate_json(const Samples &samples) {
    if (samples.empty()) return nullptr;
    return {{"mean", samples.mean()}, {"median", samples.median()}, {"stddev", samples.stddev()}};
}

Json result_json(const Result &result) {
    Json json = {{"depth", result.depth},
                 {"prefill_tokens_per_s", rate_json(result.prefill)},
                 {"decode_tokens_per_s", rate_json(result.decode)},
                 {"decode_gb_per_s", nullptr},
                 {"decode_percent_of_read", nullptr},
                 {"decode_percent_of_first_depth", nullptr},
                 {"ttft_ms", nullptr}};
    if (!result.decode.empty()) {
        json["decode_gb_per_s"] = result.read_bytes_per_s() / 1e9;
        if (result.device_bytes_per_s > 0) json["decode_percent_of_read"] = result.percent_of_read();
        json["decode_percent_of_first_depth"] = result.percent_of_first();
    }
    if (!result.ttft_ms.empty()) json["ttft_ms"] = result.ttft_ms.mean();
    return json;
}

void put_text(const Options &options, const Result &result, bool is_first) {
    const std::string at = result.depth ? el::format(" after {} tokens", result.depth) : "";
    if (!result.prefill.empty())
        put(el::format("prefill {} tokens{}: {:.2f} +/- {:.2f} tokens/s, first token after {:.1f} ms\n",
                       options.prefill, at, result.prefill.mean(), result.prefill.stddev(), result.ttft_ms.mean()));
    if (!result.decode.empty()) {
        std::string line = el::format("decode {} tokens{}: {:.2f} +/- {:.2f} tokens/s, {:.2f} GB/s", options.decode, at,
                                      result.decode.mean(), result.decode.stddev(), result.read_bytes_per_s() / 1e9);
        if (result.device_bytes_per_s > 0) line += el::format(", {:.1f} % of the read rate", result.percent_of_read());
        if (!is_first) line += el::format(", {:.1f} % of the first depth's", result.percent_of_first());
        put(line + "\n");
    }
    flush();
}

Json sequences_json(const std::vector<SequencesResult> &results) {
    Json list = Json::array();
    for (const SequencesResult &result : results)
        list.push_back({{"sequences", result.n},
                        {"decode_tokens_per_s", rate_json(result.decode)},
                        {"per_sequence_tokens_per_s", result.decode.mean() / double(result.n)}});
    return list;
}

Json latency_json(const Latency &latency) {
    return {{"token_p50", latency.token_ms.quantile(0.5)},
            {"token_p90", latency.token_ms.quantile(0.9)},
            {"token_p99", latency.token_ms.quantile(0.99)},
            {"token_max", latency.token_ms.quantile(1)},
            {"cancel_max", latency.cancel_ms.quantile(1)}};
}

void put_text(const SequencesResult &result) {
    put(el::format("{} sequence{}: {:.2f} +/- {:.2f} tokens/s together, {:.2f} each\n", result.n,
                   result.n == 1 ? "" : "s", result.decode.mean(), result.decode.stddev(),
                   result.decode.mean() / double(result.n)));
    flush();
}

void put_text(const Latency &latency) {
    put(el::format(
        "one token: p50 {:.2f}, p90 {:.2f}, p99 {:.2f}, max {:.2f} ms; from cancel to return: at most {:.2f} ms\n",
        latency.token_ms.quantile(0.5), latency.token_ms.quantile(0.9), latency.token_ms.quantile(0.99),
        latency.token_ms.quantile(1), latency.cancel_ms.quantile(1)));
    flush();
}

void check_room(size_t tokens, const edgellm::Model &model, const Options &options) {
    if (options.compute.policy != "full") return;
    const auto room =
        static_cast<size_t>(options.compute.context ? options.compute.context : model.info().trained_context_tokens);
    if (tokens > room) fail("-p, -n and -d want {} tokens of context, and there are {}", tokens, room);
}

void bench(const Options &options) {
    const std::vector<int32_t> depths = parse_numbers(options.depths, "depth");
    if (depths.empty()) throw UsageError("-d: a number is missing");
    if (!options.prefill && !options.decode) throw UsageError("-p 0 and -n 0 leave nothing to measure");
    const std::vector<int32_t> sequences = parse_numbers(options.sequences, "number of sequences");
    for (int32_t n : sequences)
        if (n == 0) throw UsageError("--sequences: 0 sequences have nothing to measure");
    if (!options.decode && (options.latency || !sequences.empty()))
        throw UsageError("--latency and --sequences measure decoding: -n 0 leaves nothing of it");
    const edgellm::Model model = load(options.compute);
    const size_t deepest = static_cast<size_t>(*std::max_element(depths.begin(), depths.end()));
    const size_t tokens = deepest + std::max({options.prefill, options.decode, size_t{1}});
    check_room(tokens, model, options);
    const auto most = sequences.empty() ? 1 : *std::max_element(sequences.begin(), sequences.end());
    Bench bench(options, model, tokens, static_cast<size_t>(most));
    const edgellm_device_info device = device_info(model.info().device);
    const std::string kernels = options.compute.kernels == "reference" ? "reference"
                                : options.compute.isa.empty()
                                    ? device.isa
                                    : el::isa_name(*el::best_isa_below(*el::parse_isa(options.compute.isa)));
    const std::string name = std::filesystem::path(options.compute.model).filename();
    Json all = Json::array();
    if (!options.json)
        put(device.kind == EDGELLM_DEVICE_CPU
                ? el::format("{}: {} threads, cpu, {}\n", name, bench.context().n_threads, kernels)
                : el::format("{}: {}, {}\n", name, device.name, device.description));
    flush();
    bench.warm_up();
    const double read_bytes_per_s = measure_device(options.compute, device.name).read_bytes_per_s;
    if (!options.json && read_bytes_per_s > 0) put(el::format("reads {:.1f} GB/s\n", read_bytes_per_s / 1e9));
    double first_decode = 0;
    for (int32_t depth : depths) {
        Result result = bench.measure(static_cast<size_t>(depth));
        result.device_bytes_per_s = read_bytes_per_s;
        if (all.empty() && !result.decode.empty()) first_decode = result.decode.mean();
        result.first_decode = first_decode;
        if (!options.json) put_text(options, result, all.empty());
        all.push_back(result_json(result));
    }
    std::vector<SequencesResult> together;
    for (int32_t n : sequences) {
        together.push_back(bench.measure_sequences(static_cast<size_t>(n)));
        if (!options.json) put_text(together.back());
    }
    std::optional<Latency> latency;
    if (options.latency) latency = bench.measure_latency();
    if (latency && !options.json) put_text(*latency);
    if (!options.json) return;
    Json json = all[0];  // the first depth; with several all of them are in the list, too
    json.update({{"model", name}, {"threads", bench.context().n_threads}, {"device", device.name}});
    json["read_gb_per_s"] = read_bytes_per_s > 0 ? Json(read_bytes_per_s / 1e9) : Json(nullptr);
    json["isa"] = device.kind == EDGELLM_DEVICE_CPU ? Json(kernels) : Json(nullptr);
    if (all.size() > 1) json["depths"] = all;
    if (!together.empty()) json["sequences"] = sequences_json(together);
    if (latency) json["latency_ms"] = latency_json(*latency);
    put_json(json);
}

}  // namespace

void add_bench(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("bench", "tokens per second of prefill and decode");
    add_compute_options(*command, options->compute);
    command->add_option("-p,--prefill", options->prefill, "tokens to prefill; 0: none")
        ->check(not_negative)
        ->capture_default_str();
    command->add_option("-n,--decode", options->decode, "tokens to decode; 0: none")
        ->check(not_negative)
        ->capture_default_str();
    command->add_option("-d,--depth", options->depths, "tokens in the context before, as 0,512")->capture_default_str();
    command->add_option("-r,--repetitions", options->repetitions, "measurements of each")
        ->check(positive)
        ->capture_default_str();
    command->add_option("--sequences", options->sequences, "decode so many sequences at once, as 1,2,4")
        ->type_name("LIST");
    command->add_flag("--latency", options->latency, "spread of the time per token, and from a cancel to its return");
    command->add_flag("--json", options->json, "print JSON");
    command->callback([options] { bench(*options); });
}

}  // namespace tool
