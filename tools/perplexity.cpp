// edgellm perplexity: how well the model predicts a text. Chunks and scored positions are those of llama.cpp's program
// of this name, so that the figures compare. With a policy that drops old tokens the text is one chunk.
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "interrupt.h"
#include "json.h"

#include <algorithm>
#include <cmath>
#include <memory>

namespace tool {
namespace {

constexpr size_t kDefaultChunk = 512;

struct Options {
    ComputeOptions compute;
    std::string file;
    bool all = false, json = false;
};

// In nat.
double negative_log_likelihood(std::span<const float> logits, edgellm::Token token) {
    const double largest = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (float x : logits) sum += std::exp(x - largest);
    return std::log(sum) + largest - logits[static_cast<size_t>(token)];
}

struct Score {
    size_t n = 0;
    double sum = 0, sum_of_squares = 0;

    void add(double nll) {
        ++n;
        sum += nll;
        sum_of_squares += nll * nll;
    }
    double perplexity() const { return std::exp(sum / double(n)); }
    double standard_error() const {  // of the perplexity: that of the mean, carried through exp
        if (n < 2) return 0;
        const double mean = sum / double(n), variance = sum_of_squares / double(n) - mean * mean;
        return perplexity() * std::sqrt(std::max(variance, 0.0) / double(n - 1));
    }
};

size_t chunk_tokens(const Options &options, const edgellm::Model &model, size_t n_tokens) {
    auto trained = static_cast<size_t>(model.info().trained_context_tokens);
    auto chunk = static_cast<size_t>(options.compute.context);
    if (!chunk) chunk = std::min({kDefaultChunk, trained, n_tokens});
    if (chunk < 3 || n_tokens < chunk)
        fail("{} has {} tokens; one chunk has {} (-c), and 3 are the least", options.file, n_tokens, chunk);
    return chunk;
}

Score score_text(const Options &options, const edgellm::Model &model) {
    std::vector<edgellm::Token> tokens = model.tokenize(read_file(options.file));
    const size_t room = chunk_tokens(options, model, tokens.size());
    const size_t chunk = options.compute.policy == "full" ? room : tokens.size(), n_chunks = tokens.size() / chunk;
    const size_t first = options.all ? 0 : room / 2;
    edgellm::Context context(model, rows_options(options.compute, model, room));
    const edgellm_model_info info = model.info();
    const bool with_bos = (info.flags & EDGELLM_MODEL_ADDS_BOS) && info.bos_token != EDGELLM_NO_TOKEN;
    Score score;
    Progress progress("perplexity", n_chunks * chunk);
    for (size_t i = 0; i < n_chunks; ++i) {
        const std::span<edgellm::Token> part = std::span(tokens).subspan(i * chunk, chunk);
        if (with_bos) part[0] = info.bos_token;
        context.sequence_remove(0);
        // The last token is not decoded: nothing in the chunk follows it.
        decode_rows(context, part.first(chunk - 1), first, [&](size_t index, std::span<const float> logits) {
            score.add(negative_log_likelihood(logits, part[index + 1]));
            progress.at(i * chunk + index + 2);
        });
    }
    return score;
}

void perplexity(const Options &options) {
    const edgellm::Model model = load(options.compute);
    const Score score = score_text(options, model);
    if (!std::isfinite(score.perplexity())) fail("the perplexity of {} is no finite number", options.file);
    if (options.json)
        put_json({{"perplexity", score.perplexity()}, {"stderr", score.standard_error()}, {"tokens", score.n}});
    else
        put(el::format("perplexity {:.4f} +/- {:.4f} ({} tokens scored)\n", score.perplexity(), score.standard_error(),
                       score.n));
}

}  // namespace

void add_perplexity(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("perplexity", "how well the model predicts a text (lower is better)");
    add_compute_options(*command, options->compute);
    command->add_option("-f,--file", options->file, "the text; - is standard input")->required()->type_name("FILE");
    command->add_flag("--all", options->all, "score every token, not only the second half of each chunk");
    command->add_flag("--json", options->json, "print JSON");
    command->callback([options] { perplexity(*options); });
}

}  // namespace tool
