// edgellm logits: what the model says after each token, as an array file.
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "output.h"

#include <memory>

namespace tool {
namespace {

struct Options {
    ComputeOptions compute;
    std::string tokens, output;
};

void write_logits(const Options &options) {
    const std::vector<edgellm::Token> tokens = parse_tokens(options.tokens);
    if (tokens.empty()) throw UsageError("--tokens: there is none");
    const edgellm::Model model = load(options.compute);
    edgellm::Context context(model, rows_options(options.compute, model, tokens.size()));
    const auto room = static_cast<size_t>(context.info().context_tokens);
    if (tokens.size() > room) fail("there are {} tokens, and the context has room for {}", tokens.size(), room);
    const uint64_t shape[] = {tokens.size(), static_cast<uint64_t>(model.info().n_vocab)};
    NpyWriter file(options.output, shape);
    Progress progress("logits", tokens.size());
    decode_rows(context, tokens, 0, [&](size_t index, std::span<const float> row) {
        file.write(row);
        progress.at(index + 1);
    });
    file.finish();
}

}  // namespace

void add_logits(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("logits", "the logits after each token, float32 [tokens, vocabulary]");
    add_compute_options(*command, options->compute);
    command->add_option("--tokens", options->tokens, "ids as 1,2,3")->required()->type_name("IDS");
    command->add_option("-o,--output", options->output, "array file (.npy) to write")->required()->type_name("FILE");
    command->callback([options] { write_logits(*options); });
}

}  // namespace tool
