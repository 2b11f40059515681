// edgellm tokenize: text to token ids.
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "interrupt.h"
#include "json.h"

#include <memory>

namespace tool {
namespace {

struct Options {
    std::string model, text;
    bool has_text = false, no_bos = false, parse_special = false, jsonl = false;

    uint32_t flags() const {
        return (no_bos ? EDGELLM_TOKENIZE_NO_BOS : 0) | (parse_special ? EDGELLM_TOKENIZE_PARSE_SPECIAL : 0);
    }
};

void put_tokens(const edgellm::Model &model, std::string_view text, uint32_t flags) {
    std::string line = "[";
    for (edgellm::Token token : model.tokenize(text, flags)) {
        if (line.size() > 1) line += ", ";
        el::append_format(line, "{}", token);
    }
    put(line + "]\n");
}

void tokenize_lines(const edgellm::Model &model, uint32_t flags) {
    const std::string input = read_file("-");
    size_t number = 0;
    for_each_line(input, [&](std::string_view line) {
        check_interrupt();
        ++number;
        Json text = parse_json_line(line);
        if (!text.is_string()) fail("line {} of the input is no JSON string", number);
        put_tokens(model, text.get_ref<const std::string &>(), flags);
    });
}

void tokenize(const Options &options) {
    if (options.jsonl && options.has_text) throw UsageError("--jsonl reads standard input; leave out the text");
    const edgellm::Model model = load_vocabulary(options.model);
    if (options.jsonl)
        tokenize_lines(model, options.flags());
    else
        put_tokens(model, options.has_text ? options.text : read_file("-"), options.flags());
}

}  // namespace

void add_tokenize(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("tokenize", "text to token ids, as a JSON array");
    add_model_option(*command, options->model);
    command->add_flag("--no-bos", options->no_bos,
                      "add no begin- or end-of-sequence token even if the model wants them");
    command->add_flag("--parse-special", options->parse_special, "special tokens in the text are tokens");
    command->add_flag("--jsonl", options->jsonl, "a JSON string on each input line, an array on each output line");
    CLI::Option *text = command->add_option("text", options->text, "the text (default: standard input)");
    command->callback([options, text] {
        options->has_text = text->count() > 0;
        tokenize(*options);
    });
}

}  // namespace tool
