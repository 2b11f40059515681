// What the commands that run a model share: their options, loading, and decoding in batches.
#pragma once
#include "backend/backend.h"

#include <CLI/CLI.hpp>
#include <edgellm/edgellm.hpp>

#include <functional>
#include <span>
#include <string>

namespace tool {

struct ComputeOptions {
    std::string model, kernels = "auto", kv = "f16", policy = "full", device = "auto", isa;
    int32_t threads = 0, context = 0, batch = 0;  // 0: the default
    std::string budget;                           // as written; empty: the default
};

// For CLI11: a whole number above 0, or what is wrong.
std::string positive(const std::string &text);
std::string not_negative(const std::string &text);

void add_model_option(CLI::App &command, std::string &path);
void add_engine_options(CLI::App &command, ComputeOptions &options);   // without the model
void add_compute_options(CLI::App &command, ComputeOptions &options);  // with the model

// Both show warnings, and load() its progress, on standard error. Ctrl-C stops it.
edgellm::Model load_vocabulary(const std::string &path);
edgellm::Model load(const ComputeOptions &options);

// What is written as --budget and --kv.
uint64_t budget_of(const ComputeOptions &options);
std::pair<edgellm_format, edgellm_format> cache_formats_of(const ComputeOptions &options);

edgellm_device_info device_info(const std::string &name);
// What it does at most with these threads and kernels.
el::DeviceRates measure_device(const ComputeOptions &options, const std::string &device);

// Of a model and a context of -c tokens, or as many as the model was trained with.
edgellm::MemoryPlan memory_plan(const ComputeOptions &options);

// For work that needs room for `tokens`: -c, or as many as that, but no more than the model was trained with.
edgellm::ContextOptions context_options(const ComputeOptions &options, const edgellm::Model &model, size_t tokens);

// The same for decode_rows(): as many rows of logits as a step has tokens. Without --batch steps are such that the
// logits take 64 MiB or less.
edgellm::ContextOptions rows_options(const ComputeOptions &options, const edgellm::Model &model, size_t tokens);

// Appends `tokens` to sequence 0 in steps, and gives the logits after each from number `first` on to `row`.
void decode_rows(edgellm::Context &context, std::span<const edgellm::Token> tokens, size_t first,
                 const std::function<void(size_t index, std::span<const float> logits)> &row);

// "1,2,3" with or without brackets; commas, spaces or newlines between. Throws UsageError.
std::vector<int32_t> parse_numbers(std::string_view text, const char *what);
inline std::vector<edgellm::Token> parse_tokens(std::string_view text) { return parse_numbers(text, "token id"); }

}  // namespace tool
