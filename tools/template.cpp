// edgellm template: the prompt that a chat template makes.
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "output.h"

#include "model/gguf.h"
#include "text/chat.h"
#include "text/json.h"
#include "text/template.h"
#include "text/vocab.h"

#include <memory>
#include <optional>

namespace tool {
namespace {

struct Options {
    std::string model, template_file, messages_file, variables_file, tools_file, now;
};

el::Value parse_object(const std::string &path) {
    el::Value value = el::parse_json(read_file(path), path);
    if (!value.is_dict()) fail("{} is no JSON object", path);
    return value;
}

el::Value variables(const el::Vocabulary *vocabulary, const Options &options) {
    if (!options.variables_file.empty()) return parse_object(options.variables_file);
    const std::string messages = read_file(options.messages_file);
    el::Value given;
    try {
        given = el::chat_variables(vocabulary, messages, "");
    } catch (const el::Error &error) {
        fail("{}: {}", options.messages_file, error.what());
    }
    if (!options.tools_file.empty())
        given.dict().set("tools", el::parse_json(read_file(options.tools_file), options.tools_file));
    return given;
}

void render(const Options &options) {
    if (options.model.empty() == options.template_file.empty()) throw UsageError("give -m or --template, one of them");
    if (options.messages_file.empty() == options.variables_file.empty())
        throw UsageError("give --messages or --vars, one of them");
    if (!options.tools_file.empty() && !options.variables_file.empty())
        throw UsageError("--vars holds all variables, the tools too: leave out --tools");
    el::RenderOptions how;
    if (!options.now.empty()) {
        how.now = el::parse_iso_time(options.now);
        if (!how.now) throw UsageError(el::format("--now {}: is no time such as 2025-07-26T12:00:00", options.now));
    }
    if (options.model.empty()) {
        el::Template source = el::Template::parse(read_file(options.template_file));
        return put(source.render(variables(nullptr, options), how));
    }
    const el::Log log{[](void *, int, const char *text) { note("warning: {}", printable(text)); }, nullptr,
                      el::LogLevel::kWarning};
    auto vocabulary = el::Vocabulary::from_metadata(el::GgufFile::open(options.model).metadata(), log);
    if (!vocabulary) fail("{} has no vocabulary, and so no form for a chat", options.model);
    put(el::render_chat(*vocabulary, variables(vocabulary.get(), options), how, log));
}

}  // namespace

void add_template(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("template", "the prompt that a chat template makes of messages");
    command->add_option("-m,--model", options->model, "model file with a template")->type_name("FILE");
    command->add_option("--template", options->template_file, "the template; needs no model")->type_name("FILE");
    command->add_option("--messages", options->messages_file, "JSON array of messages")->type_name("FILE");
    command->add_option("--vars", options->variables_file, "JSON object with all variables")->type_name("FILE");
    command->add_option("--tools", options->tools_file, "JSON for the variable tools")->type_name("FILE");
    command->add_option("--now", options->now, "what the template takes for the time")->type_name("ISO-TIME");
    command->callback([options] { render(*options); });
}

}  // namespace tool
