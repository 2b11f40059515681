// edgellm detokenize: token ids to text.
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "interrupt.h"
#include "json.h"

#include <algorithm>
#include <memory>

namespace tool {
namespace {

struct Options {
    std::string model, ids;
    bool has_ids = false, jsonl = false;
};

void detokenize_lines(const edgellm::Model &model) {
    const std::string input = read_file("-");
    size_t number = 0;
    for_each_line(input, [&](std::string_view line) {
        check_interrupt();
        ++number;
        Json ids = parse_json_line(line);
        std::vector<edgellm::Token> tokens;
        auto is_id = [](const Json &id) { return id.is_number_integer() && id >= 0 && id <= INT32_MAX; };
        if (!ids.is_array() || !std::all_of(ids.begin(), ids.end(), is_id))
            fail("line {} of the input is no JSON array of token ids", number);
        for (const Json &id : ids) tokens.push_back(id.get<edgellm::Token>());
        put(json_text(model.detokenize(tokens)) + "\n");
    });
}

void detokenize(const Options &options) {
    if (options.jsonl && options.has_ids) throw UsageError("--jsonl reads standard input; leave out the ids");
    std::vector<edgellm::Token> ids;
    if (!options.jsonl) ids = parse_tokens(options.has_ids ? options.ids : read_file("-"));
    const edgellm::Model model = load_vocabulary(options.model);
    options.jsonl ? detokenize_lines(model) : put(model.detokenize(ids));
}

}  // namespace

void add_detokenize(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("detokenize", "token ids to text, byte for byte");
    add_model_option(*command, options->model);
    command->add_flag("--jsonl", options->jsonl, "a JSON array on each input line, a JSON string on each output line");
    CLI::Option *ids = command->add_option("ids", options->ids, "ids as 1,2,3 (default: standard input)");
    command->callback([options, ids] {
        options->has_ids = ids->count() > 0;
        detokenize(*options);
    });
}

}  // namespace tool
