// edgellm run: an answer, or a chat.
#include "chat.h"
#include "commands.h"
#include "compute.h"
#include "files.h"
#include "interrupt.h"
#include "output.h"

#include "base/utf8.h"

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
    std::vector<std::string> biases, dry_breakers;
    bool raw = false, parse_special = false;
    edgellm::SamplerOptions sampling;
    edgellm::GenerateOptions generate;
};

// "2=-inf" or "2:-inf"
std::pair<edgellm::Token, float> parse_bias(const std::string &text) {
    const size_t equals = text.find_first_of("=:");
    const std::vector<edgellm::Token> token = parse_tokens(text.substr(0, equals));
    char *end = nullptr;
    const float bias = equals == text.npos ? 0 : std::strtof(text.c_str() + equals + 1, &end);
    if (token.size() != 1 || !end || end == text.c_str() + equals + 1 || *end)
        throw UsageError(el::format("--logit-bias {}: must be TOKEN=BIAS, such as 2=-inf", text));
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
        try {
            text = model.render_chat_json(json);
        } catch (const edgellm::Error &error) {
            if (error.status() == EDGELLM_TEMPLATE_FAILED) throw;  // in words of the template
            fail("{}: {}", options.messages_file, error.what());
        }
    } else {
        for (const std::string &part : {options.system, *options.prompt})
            if (!el::utf8_is_valid(part)) fail("the prompt is not valid UTF-8; --raw takes any bytes");
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
    if (!options.dry_breakers.empty()) options.sampling.dry_breakers = options.dry_breakers;
    for (const std::string &bias : options.biases) options.sampling.logit_bias.push_back(parse_bias(bias));

    const edgellm::Model model = load(options.compute);
    if (!(model.info().flags & EDGELLM_MODEL_HAS_VOCABULARY))
        fail("{} has no vocabulary, so it cannot read text", options.compute.model);
    once ? answer_once(model, options) : chat_with(model, options);
}

void add_dropping_options(CLI::App &command, edgellm::SamplerOptions &s) {
    command.add_option("--top-k", s.top_k, "only the K likeliest tokens; 0: all")->capture_default_str();
    command.add_option("--top-p", s.top_p, "only the likeliest that reach P together")->capture_default_str();
    command.add_option("--min-p", s.min_p, "only those P times as likely as the likeliest")->capture_default_str();
    command.add_option("--typical-p", s.typical_p, "only the most typical that reach P together; 1: off")
        ->capture_default_str();
    command.add_option("--top-n-sigma", s.top_n_sigma, "only logits within N standard deviations of the best; 0: off")
        ->capture_default_str();
    command.add_option("--xtc-probability", s.xtc_probability, "how often the likeliest are left out; 0: never")
        ->capture_default_str();
    command.add_option("--xtc-threshold", s.xtc_threshold, "those at least so likely, but for one")
        ->capture_default_str();
    command.add_option("--mirostat-tau", s.mirostat_tau, "surprise to aim at, in bits, in place of these; 0: off")
        ->capture_default_str();
    command.add_option("--mirostat-eta", s.mirostat_eta, "how fast it adapts")->capture_default_str();
}

void add_penalty_options(CLI::App &command, Options &options) {
    edgellm::SamplerOptions &s = options.sampling;
    command.add_option("--repeat-penalty", s.repetition_penalty, "weakens tokens seen before; 1: off")
        ->capture_default_str();
    command.add_option("--frequency-penalty", s.frequency_penalty, "the same, for each time")->capture_default_str();
    command.add_option("--presence-penalty", s.presence_penalty, "the same, once")->capture_default_str();
    command.add_option("--repeat-last-n", s.penalty_last_n, "tokens that penalties look back at")
        ->check(not_negative)
        ->capture_default_str();
    command.add_option("--dry-multiplier", s.dry_multiplier, "weakens what goes on with a repetition; 0: off")
        ->capture_default_str();
    command.add_option("--dry-base", s.dry_base, "the more, the longer it is")->capture_default_str();
    command.add_option("--dry-allowed-length", s.dry_allowed_length, "from this length on")->capture_default_str();
    command.add_option("--dry-penalty-last-n", s.dry_penalty_last_n, "tokens that it looks back at")
        ->check(not_negative)
        ->capture_default_str();
    command.add_option("--dry-breaker", options.dry_breakers, "text that ends repetitions; may be repeated")
        ->type_name("TEXT")
        ->allow_extra_args(false);
}

void add_sampling_options(CLI::App &command, Options &options) {
    edgellm::SamplerOptions &s = options.sampling;
    command.add_option("--temp", s.temperature, "temperature; 0: always the likeliest token")->capture_default_str();
    command.add_option("--dynatemp-range", s.dynatemp_range, "lets the temperature follow the entropy; 0: off")
        ->capture_default_str();
    command.add_option("--dynatemp-exponent", s.dynatemp_exponent, "the higher, the rarer high temperatures")
        ->capture_default_str();
    add_dropping_options(command, s);
    add_penalty_options(command, options);
    command.add_option("--samplers", s.stages, "the stages that run, in order: penalties,dry,top_k,temperature")
        ->type_name("LIST");
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
    command->add_option("-n,--tokens", options->generate.max_tokens, "tokens of the answer at most")->check(positive);
    command->add_option("--stop", options->generate.stop_strings, "text that ends the answer; may be repeated")
        ->type_name("TEXT")
        ->allow_extra_args(false);
    add_sampling_options(*command, *options);
    command->callback([options] { run(*options); });
}

}  // namespace tool
