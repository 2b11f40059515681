#include "text/chat.h"

#include "base/status.h"
#include "text/json.h"
#include "text/template_text.h"
#include "text/vocab.h"
#include <algorithm>
#include <utility>
#include <vector>

namespace el {

namespace {

void check_part(const Value &part, size_t message, size_t index) {
    if (!part.is_dict()) fail(Status::kInvalidText, "messages[{}].content[{}] is not an object", message, index);
    const Value *type = part.dict().find("type");
    if (!type || !type->is_string())
        fail(Status::kInvalidText, "messages[{}].content[{}] needs a \"type\" that is a string", message, index);
    const Value *text = part.dict().find("text");
    if (type->text() == "text" && (!text || !text->is_string()))
        fail(Status::kInvalidText,
             "messages[{}].content[{}] has the type \"text\" and needs a \"text\" that is a string", message, index);
}

void check_message(const Value &message, size_t index) {
    if (!message.is_dict()) fail(Status::kInvalidText, "messages[{}] is not an object", index);
    const Value *role = message.dict().find("role");
    if (!role || !role->is_string())
        fail(Status::kInvalidText, "messages[{}] needs a \"role\" that is a string, such as \"user\"", index);
    const Value *content = message.dict().find("content");
    if (!content || content->is_none() || content->is_string()) return;
    if (!content->is_list())
        fail(Status::kInvalidText, "messages[{}].content is neither a string nor an array of parts", index);
    size_t part = 0;
    for (const Value &item : content->list().items) check_part(item, index, part++);
}

// The text of a message where nothing else can be shown: parts begin a line each.
std::string plain_content(const Value &message, size_t index, const char *why) {
    const Value *content = message.dict().find("content");
    if (!content || content->is_none()) return {};
    if (content->is_string()) return content->text();
    std::string out;
    for (const Value &part : content->list().items) {
        if (part.dict().find("type")->text() != "text")
            fail(Status::kInvalidText, "messages[{}].content has a part of the type \"{}\", but {}", index,
                 part.dict().find("type")->text(), why);
        if (!out.empty()) out += '\n';
        out += part.dict().find("text")->text();
    }
    return out;
}

std::string render_without_template(const Value &messages, bool chatml, bool answer_follows) {
    std::string out;
    size_t index = 0;
    for (const Value &message : messages.list().items) {
        const std::string &role = message.dict().find("role")->text();
        std::string content = plain_content(message, index++, "the model has no chat template");
        out += chatml ? "<|im_start|>" + role + "\n" + content + "<|im_end|>\n"
                      : capitalize_text(role) + ": " + content + "\n\n";
    }
    if (answer_follows) out += chatml ? "<|im_start|>assistant\n" : "Assistant:";
    return out;
}

void check_messages(const Value &messages) {
    if (!messages.is_list()) fail(Status::kInvalidText, "the messages are not an array");
    size_t index = 0;
    for (const Value &message : messages.list().items) check_message(message, index++);
}

Value all_variables(const Value &messages, const Value &variables, std::string_view bos, std::string_view eos) {
    check_messages(messages);
    if (!variables.is_dict() && !variables.is_undefined() && !variables.is_none())
        fail(Status::kInvalidText, "the variables of the chat template are not an object");
    auto all = make_ref<Dict>();
    all->set("tools", Value::none());
    all->set("documents", Value::none());
    all->set("add_generation_prompt", true);
    all->set("bos_token", bos);
    all->set("eos_token", eos);
    if (variables.is_dict())
        for (auto &[name, value] : variables.dict().entries()) all->set(name, value);
    all->set("messages", messages);
    return Value(all);
}

Value with(const Dict &dict, std::string_view name, Value value) {
    auto out = make_ref<Dict>();
    for (auto &[key, old] : dict.entries()) out->set(key, old);
    out->set(name, std::move(value));
    return Value(out);
}

// Whether the template writes the text of such a content, and not the notation of a list.
bool shows(const Template &chat_template, const Value &variables, const RenderOptions &options, bool as_part) {
    constexpr const char *kText = "probe4711";
    Value content = kText;
    if (as_part) {
        auto part = make_ref<Dict>();
        part->set("type", "text");
        part->set("text", kText);
        content = make_ref<List>(std::vector<Value>{Value(part)});
    }
    auto message = make_ref<Dict>();
    message->set("role", "user");
    message->set("content", content);
    const Value messages = make_ref<List>(std::vector<Value>{Value(message)});
    try {
        const std::string out = chat_template.render(with(variables.dict(), "messages", messages), options);
        const size_t at = out.find(kText);
        return at != out.npos && (at == 0 || (out[at - 1] != '\'' && out[at - 1] != '"'));
    } catch (const Error &e) {
        if (e.status() != Status::kTemplateFailed) throw;
        return false;
    }
}

// Templates made for strings fail on parts, or print a list: they get the text that the parts are.
std::string render_with_template(const Template &chat_template, const Value &variables, const RenderOptions &options) {
    const Value *messages = variables.dict().find("messages");
    auto has_parts = [](const Value &message) {
        const Value *content = message.is_dict() ? message.dict().find("content") : nullptr;
        return content && content->is_list();
    };
    const bool some = messages && messages->is_list() &&
                      std::any_of(messages->list().items.begin(), messages->list().items.end(), has_parts);
    if (!some || shows(chat_template, variables, options, true) || !shows(chat_template, variables, options, false))
        return chat_template.render(variables, options);
    check_messages(*messages);
    auto joined = make_ref<List>();
    for (const Value &message : messages->list().items) {
        const size_t index = joined->items.size();
        joined->items.push_back(
            has_parts(message)
                ? with(message.dict(), "content", plain_content(message, index, "the chat template takes only text"))
                : message);
    }
    return chat_template.render(with(variables.dict(), "messages", Value(joined)), options);
}

std::string_view token_text(const Vocabulary &vocabulary, int32_t id) {
    return vocabulary.has(id) ? vocabulary.token_bytes(id) : std::string_view();
}

// Whether the text is taken as one token where special tokens are parsed.
bool is_token(const Vocabulary &vocabulary, std::string_view text) {
    int32_t id = vocabulary.find(text);
    return id >= 0 && (vocabulary.is_special(id) || vocabulary.kind(id) == TokenKind::kUserDefined);
}

Value parse_variables(std::string_view json) {
    return json.empty() ? Value() : parse_json(json, "the variables of the chat template");
}

std::string render(const Template *chat_template, const Value &variables, const ChatContext &context) {
    if (chat_template) return render_with_template(*chat_template, variables, {context.now, context.limits});
    context.log(LogLevel::kWarning, "the model has no chat template: the messages are written {}",
                context.has_chatml_tokens ? "as ChatML" : "as plain lines");
    for (const char *name : {"tools", "documents"}) {
        const Value *given = variables.dict().find(name);
        if (!given || !is_truthy(*given)) continue;
        context.log(LogLevel::kWarning, "the model has no chat template, so the {} are left out of the prompt", name);
    }
    const Value *messages = variables.dict().find("messages");
    const Value *answer_follows = variables.dict().find("add_generation_prompt");
    check_messages(messages ? *messages : Value());
    return (context.add_bos ? context.bos_token : std::string()) +
           render_without_template(*messages, context.has_chatml_tokens, !answer_follows || is_truthy(*answer_follows));
}

}  // namespace

std::string render_chat(const Template *chat_template, const Value &messages, const Value &variables,
                        const ChatContext &context) {
    return render(chat_template, all_variables(messages, variables, context.bos_token, context.eos_token), context);
}

Value chat_variables(const Vocabulary *vocabulary, std::string_view messages, std::string_view variables) {
    Value given = parse_json(messages, "the messages"), more = parse_variables(variables);
    if (!vocabulary) return all_variables(given, more, "", "");
    Value all = all_variables(given, more, token_text(*vocabulary, vocabulary->bos()),
                              token_text(*vocabulary, vocabulary->eos()));
    for (auto [name, id] : {std::pair("unk_token", vocabulary->unk()), std::pair("pad_token", vocabulary->pad())})
        if (vocabulary->has(id) && !all.dict().find(name)) all.dict().set(name, vocabulary->token_bytes(id));
    return all;
}

std::string render_chat(const Vocabulary &vocabulary, std::string_view messages, std::string_view variables,
                        const Log &log) {
    return render_chat(vocabulary, chat_variables(&vocabulary, messages, variables), {}, log);
}

std::string render_chat(const Vocabulary &vocabulary, const Value &variables, const RenderOptions &options,
                        const Log &log) {
    if (!vocabulary.chat_template().empty())
        return render_with_template(Template::parse(vocabulary.chat_template()), variables, options);
    ChatContext context;
    context.bos_token = token_text(vocabulary, vocabulary.bos());
    context.add_bos = vocabulary.add_bos();
    context.has_chatml_tokens = is_token(vocabulary, "<|im_start|>") && is_token(vocabulary, "<|im_end|>");
    context.log = log;
    return render(nullptr, variables, context);
}

}  // namespace el
