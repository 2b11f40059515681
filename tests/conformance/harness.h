// What the conformance tests share: counting, random input, programs with their weights, and running them.
#pragma once
#include "backend/backend.h"
#include "backend/cpu/kernels.h"
#include "random_values.h"

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

namespace el::conformance {

struct Options {
    std::string only;  // names of tests to run contain this; or the name of a case
    std::string isa;   // only this instruction set
    std::string device = "cpu";
    uint32_t seed = std::random_device()();  // other inputs each time; a run says which
    uint32_t part = 0, parts = 1;            // only one of so many parts of the tests, by the hash of their names
    bool bench = false;
    bool small = false;    // no shapes that take long
    bool once = false;     // no second run that must have the same result
    bool verbose = false;  // says also what passes
};

class Report {
  public:
    explicit Report(const Options &options) : options_(options) {}
    // Whether a test is to be run: for its name, or for what its cases may be called, which begins with it.
    bool wanted(const std::string &name) const {
        const bool may_be = wants_case(name) || options_.only.starts_with(name);
        return may_be && std::hash<std::string>()(name) % options_.parts == options_.part;
    }
    bool wants_case(const std::string &name) const { return name.find(options_.only) != std::string::npos; }
    bool wants_large() const { return !options_.small; }
    bool wants_repeats() const { return !options_.once; }
    void check(const std::string &name, bool ok, const std::string &why = {});
    void compare(const std::string &name, const std::vector<float> &expected, const std::vector<float> &got,
                 double tolerance);
    void skip(const std::string &name, const char *why);
    int finish() const;          // prints the totals; the exit code
    int finish_or_skip() const;  // the same, 77 where all was skipped

  private:
    const Options &options_;
    int passed_ = 0, failed_ = 0, skipped_ = 0;
};

class Random {
  public:
    explicit Random(uint32_t seed) : engine_(seed) {}
    float normal() { return normal_(engine_); }
    uint32_t below(uint32_t n) { return uint32_t(engine_() % n); }
    std::vector<float> values(size_t n, float scale = 1) {
        std::vector<float> v(n);
        for (float &x : v) x = scale * normal();
        return v;
    }

  private:
    std::mt19937 engine_;
    RandomNormal normal_;
};

// The instruction sets of this machine that `options` asks for; the others are reported as skipped.
std::vector<Isa> isas(const Options &options, Report &report);

// Every format with blocks; F32, F16, BF16 too if asked for.
std::vector<Format> formats(bool with_floats);

std::vector<std::byte> encode(Format format, const std::vector<float> &values);
std::vector<float> decode(Format format, const std::vector<std::byte> &blocks);

// A program under construction, with random weights.
struct Model {
    Program program;
    std::vector<WeightTensor> tensors;
    std::vector<std::vector<std::byte>> data;
    uint32_t seed;  // of the weights, and of the tokens it is run with
    Random random;

    explicit Model(uint32_t seed_) : seed(seed_), random(seed_) {}
    WeightRef add_tensor(Format format, uint32_t rows, uint32_t cols, uint8_t uses, float scale, float offset = 0);
    WeightRef matrix(Format format, uint32_t rows,
                     uint32_t cols);  // scaled so that outputs are about as large as inputs
    WeightRef vector(uint32_t n, float offset);
    ValueId push(Op op, uint32_t width);

    ValueId embed(uint32_t vocab, uint32_t width, Format format = Format::kF32);
    ValueId norm(ValueId x, uint32_t groups = 1);
    ValueId linear(ValueId x, WeightRef weight, bool bias = false);
    ValueId binary(OpKind kind, ValueId a, ValueId b);
    ValueId rope(ValueId x, uint32_t n_heads, uint32_t head_dim, uint32_t dims, RopePairs pairs, bool factors);
    ValueId attend(ValueId q, ValueId k, ValueId v, const AttentionArgs &args);  // writes the cache first
    void finish(ValueId x);                                                      // the logits are the output rows of x
};

// Some tokens of some sequences; every one of them gives an output.
struct Tokens {
    std::vector<int> sequence;  // of each token
    bool last_only = false;     // outputs only for the last token
    bool tree = false;          // drafts: token j of a sequence follows token (j - 1) / 2
    bool every = true;          // sequence is part of the step, also those without tokens
};

struct Setup {
    Isa isa = Isa::kScalar;
    int threads = 1;
    Format cache_k = Format::kF16, cache_v = Format::kF16;
    uint32_t max_rows = 64;  // per sequence
};

// A model with its weights in a backend, and the state of its sequences.
class Session {
  public:
    Session(const Backend &backend, const Model &model, const Setup &setup, uint32_t max_tokens);
    ~Session();
    void prepare(const Tokens &tokens);  // the next step
    std::vector<float> run();            // its outputs: step() and logits()
    bool step();
    std::vector<float> logits() const;
    bool best(uint32_t row, size_t n, BestTokens &out) const;  // of an output row

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

// Runs the steps one after the other; the result is the outputs of each.
std::vector<std::vector<float>> run(const Backend &backend, const Model &model, const Setup &setup,
                                    const std::vector<Tokens> &steps);

const cpu::Kernels &kernels_of(Isa isa);

// A backend (the CPU's with one instruction set), compared with the reference.
struct Context {
    Report &report;
    Isa isa;
    std::string prefix;
    uint32_t seed;
    std::unique_ptr<Backend> tested;
    std::unique_ptr<Backend> reference = create_reference_backend();
    // Products of float16 and BF16 matrices with many tokens: 1e-3 where activations are rounded to float16 for them.
    double least_tolerance = 0;
    bool one_path = true;                            // parts of tensors are multiplied as whole tensors are
    std::vector<const char *> prompt_routes = {""};  // see PromptRoute
};
// The route that products of prompts take on a GPU, for programs compiled while this lives. "": as the environment
// says.
class PromptRoute {
  public:
    explicit PromptRoute(const char *route) : route_(route) {
        if (const char *given = std::getenv(kVariable)) given_ = given;
        if (*route_) setenv(kVariable, route_, 1);
    }
    ~PromptRoute() { given_.empty() ? unsetenv(kVariable) : setenv(kVariable, given_.c_str(), 1); }
    PromptRoute(const PromptRoute &) = delete;
    std::string name() const { return *route_ ? std::string(" ") + route_ : ""; }

  private:
    static constexpr const char *kVariable = "EDGELLM_CUDA_PREFILL";
    const char *route_;
    std::string given_;
};
void compare(Context &c, const std::string &name, const Model &model, Setup setup, const std::vector<Tokens> &steps,
             double tolerance);
Tokens tokens(int n, int sequence = 0);
std::vector<Tokens> conversation();
double tolerance_of(Format format);
double tolerance_of_cache(Format k, Format v, int n_layers);
constexpr Format kCacheFormats[] = {Format::kF32, Format::kF16, Format::kQ8_0, Format::kQ4_0};
std::vector<float> flat(const std::vector<std::vector<float>> &parts);
// The norm of the difference over that of `expected`, of as many values as both have.
double relative_error(const std::vector<float> &expected, const std::vector<float> &got);

void test_kernels(const Options &options, Report &report, Isa isa);
void test_programs(Context &c);
void test_ops(Context &c);
void test_experts(Context &c);
void test_attention_shapes(Context &c);
void test_best(Context &c);

// Parts of models, for tests and timings.
struct Experts {
    uint32_t n, used, ffn;
    bool bias = false, normalize = true;
};
ValueId mixture(Model &m, ValueId x, Format format, const Experts &e, ActivationKind activation);
ValueId short_conv(Model &m, ValueId x, uint32_t kernel, bool bias, ActivationKind activation);
ValueId delta_rule(Model &m, ValueId x, DeltaRuleArgs args);  // args.state is set
ValueId selective_scan(Model &m, ValueId x, SelectiveScanArgs args);
// Of the CPU kernels and ops, of any device matrices and ops.
struct Target {
    const char *name;
    Isa isa;
    const Backend *backend;
};
void bench(const Options &options, Isa isa);
void bench_ops(const Options &options, const Target &target);
void bench_device(const Options &options, const Target &target);

}  // namespace el::conformance
