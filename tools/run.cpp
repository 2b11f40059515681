// edgellm run: an answer, or a chat.
#include "chat.h"
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "interrupt.h"
#include "output.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <random>

namespace tool {
namespace {

// Room for an answer whose length is not given (-n), and for a chat.
constexpr size_t kAnswerTokens = 2048, kChatTokens = 4096;

struct Options {
    ComputeOptions compute;
    std::optional<std::string> prompt;
    std::optional<uint64_t> seed;
    std::string messages_file, system;
    std::vector<std::string> biases;
    bool raw = false, parse_special = false;
    edgellm::SamplerOptions sampling;
    edgellm::GenerateOptions generate;
};

// "2=-inf"
std::pair<edgellm::Token, float> parse_bias(const std::string &text) {
    const size_t equals = text.find('=');
    const std::vector<edgellm::Token> token = parse_tokens(text.substr(0, equals));
    char *end = nullptr;
    const float bias = equals == text.npos ? 0 : std::strtof(text.c_str() + equals + 1, &end);
    if (token.size() != 1 || !end || end == text.c_str() + equals + 1 || *end)
        throw UsageError(fmt::format("--logit-bias {}: must be TOKEN=BIAS, such as 2=-inf", text));
    return {token[0], bias};
}

std::vector<edgellm::Token> render(const edgellm::Model &model, const Options &options) {
    if (options.raw) {
        const uint32_t flags = options.parse_special ? EDGELLM_TOKENIZE_PARSE_SPECIAL : 0;
        return model.tokenize(*options.prompt, flags);
    }
    std::string text;
    if (!options.messages_file.empty()) {
        const std::string json = read_file(options.messages_file);
        if (json.find('\0') != json.npos) fail("{} is no JSON: it contains a NUL", options.messages_file);
        text = model.render_chat_json(json);
    } else {
        std::vector<edgellm::ChatMessage> messages;
        if (!options.system.empty()) messages.push_back({"system", options.system});
        messages.push_back({"user", *options.prompt});
        text = model.render_chat(messages);
    }
    return model.tokenize(text, EDGELLM_TOKENIZE_CHAT);
}

void answer_once(const edgellm::Model &model, const Options &options) {
    const std::vector<edgellm::Token> prompt = render(model, options);
    const auto wanted = static_cast<size_t>(options.generate.max_tokens);
    const size_t room = prompt.size() + (wanted ? wanted : kAnswerTokens);
    Session session(model, context_options(options.compute, model, room), options.sampling);
    Answer answer = session.answer(prompt, options.generate, [](std::string_view text) {
        put(text);
        flush();
    });
    if (!answer.text.empty() && answer.text.back() != '\n') put("\n");
    flush();
    if (answer.result.stop_reason == EDGELLM_STOP_CANCELLED) fail("the answer was stopped by a signal");
    if (answer.result.stop_reason == EDGELLM_STOP_CONTEXT_FULL)
        note("The context of {} tokens is full; the option -c gives more room.", session.context_tokens());
    note("{}; seed {}", session.timings(), options.sampling.seed);
}

void chat_with(const edgellm::Model &model, const Options &options) {
    ChatOptions how{options.system, options.raw, options.generate};
    Session session(model, context_options(options.compute, model, kChatTokens), options.sampling);
    chat(model, session, how);
    note("{}; seed {}", session.timings(), options.sampling.seed);
}

void run(Options &options) {
    const bool once = options.prompt || !options.messages_file.empty();
    if (options.prompt && !options.messages_file.empty()) throw UsageError("give -p or --messages, not both");
    if (options.raw && (!options.messages_file.empty() || !options.system.empty()))
        throw UsageError("--raw is for plain text: leave out --messages and --system");
    if (!options.messages_file.empty() && !options.system.empty())
        throw UsageError("--messages holds the whole conversation: put the system message there");
    if (!options.seed) options.seed = uint64_t{std::random_device()()};
    options.sampling.seed = *options.seed;
    for (const std::string &bias : options.biases) options.sampling.logit_bias.push_back(parse_bias(bias));

    const edgellm::Model model = load(options.compute);
    if (!(model.info().flags & EDGELLM_MODEL_HAS_VOCABULARY))
        fail("{} has no vocabulary, so it cannot read text", options.compute.model);
    once ? answer_once(model, options) : chat_with(model, options);
}

void add_sampling_options(CLI::App &command, Options &options) {
    edgellm::SamplerOptions &s = options.sampling;
    command.add_option("--temp", s.temperature, "temperature; 0: always the likeliest token")->capture_default_str();
    command.add_option("--top-k", s.top_k, "only the K likeliest tokens; 0: all")->capture_default_str();
    command.add_option("--top-p", s.top_p, "only the likeliest that reach P together")->capture_default_str();
    command.add_option("--min-p", s.min_p, "only those P times as likely as the likeliest")->capture_default_str();
    command.add_option("--repeat-penalty", s.repetition_penalty, "weakens tokens seen before; 1: off")
        ->capture_default_str();
    command.add_option("--frequency-penalty", s.frequency_penalty, "the same, for each time")->capture_default_str();
    command.add_option("--presence-penalty", s.presence_penalty, "the same, once")->capture_default_str();
    command.add_option("--repeat-last-n", s.penalty_last_n, "tokens that penalties look back at")
        ->capture_default_str();
    command.add_option("--logit-bias", options.biases, "added to a token's logit; may be repeated")
        ->type_name("TOKEN=BIAS")
        ->allow_extra_args(false);
    command.add_option("--seed", options.seed, "of the random numbers (default: another each time)");
}

}  // namespace

void add_run(CLI::App &program) {
    auto options = std::make_shared<Options>();
    CLI::App *command = program.add_subcommand("run", "answers a prompt, or chats");
    add_compute_options(*command, options->compute);
    command->add_option("-p,--prompt", options->prompt, "the prompt (default: a chat)")->type_name("TEXT");
    command->add_option("--messages", options->messages_file, "conversation to answer, a JSON array of messages")
        ->type_name("FILE");
    command->add_option("--system", options->system, "system message")->type_name("TEXT");
    command->add_flag("--raw", options->raw, "no chat template: the model goes on from the prompt");
    command->add_flag("--parse-special", options->parse_special, "with --raw: special tokens in the prompt are tokens");
    command->add_option("-n,--tokens", options->generate.max_tokens, "tokens of the answer at most")
        ->check(CLI::PositiveNumber);
    command->add_option("--stop", options->generate.stop_strings, "text that ends the answer; may be repeated")
        ->type_name("TEXT")
        ->allow_extra_args(false);
    add_sampling_options(*command, *options);
    command->callback([options] { run(*options); });
}

}  // namespace tool
