// What templates get: messages, JSON and the time.
#include "template_helpers.h"
#include "text/chat.h"

using namespace el;

TEST_CASE("json comes in whole or not at all") {
    auto message = [](std::string_view json) {
        return failure(Status::kInvalidText, [&] { parse_json(json, "the file"); });
    };
    CHECK(message("").find("the file cannot be read as JSON at byte 1") == 0);
    CHECK(message("[1, 2").find("the file cannot be read as JSON at byte 6") == 0);
    CHECK(message("{\"a\": 1} x").find("at byte 10") != std::string::npos);
    CHECK(message("[\"\xFF\"]").find("at byte 3") != std::string::npos);
    CHECK(failure(Status::kLimitExceeded, [&] { parse_json(std::string(100'000, '['), "the file"); }) ==
          "the file nests more than 150 levels of JSON");
    Meter meter(1000, 1000);
    std::string out;
    append_json(out, parse_json(R"({"z": 1, "a": [true, null, -9223372036854775808, 1.5e300], "z": 2})"), {}, meter);
    CHECK(out == R"({"z": 2, "a": [true, null, -9223372036854775808, 1.5e+300]})");
    std::string many = "{";
    for (int i = 0; i < 1000; ++i) many += "\"k" + std::to_string(i % 500) + "\": " + std::to_string(i) + ", ";
    Value large = parse_json(many + "\"end\": 0}");
    CHECK(large.dict().size() == 501);
    CHECK(large.dict().find("k499")->as_int() == 999);
}

TEST_CASE("iso times") {
    CHECK(parse_iso_time("2025-07-26T12:30:15")->tm_sec == 15);
    CHECK(parse_iso_time("2025-07-26")->tm_wday == 6);
    for (const char *bad : {"", "2025", "2025-13-01", "2025-02-30", "2025-07-26T25:00", "2025-07-26x", "26.7.2025"})
        CHECK_FALSE(parse_iso_time(bad));
}

TEST_CASE("chat messages") {
    ChatContext context;
    context.bos_token = "<s>";
    std::string said;
    context.log = {[](void *user, int, const char *text) { *static_cast<std::string *>(user) = text; }, &said};
    Value messages = parse_json(R"([{"role": "system", "content": "Be brief."},
                                    {"role": "user", "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "you"}]}])");
    Template chat =
        Template::parse("{{ bos_token }}{% for m in messages %}[{{ m.role }}]{% endfor %}{{ tools is none }}{{ x }}"
                        "{% if add_generation_prompt %}>{% endif %}");
    CHECK(render_chat(&chat, messages, Value(), context) == "<s>[system][user]True>");
    CHECK(render_chat(&chat, messages, parse_json(R"({"x": 1, "tools": [], "add_generation_prompt": false})"),
                      context) == "<s>[system][user]False1");
    CHECK(said.empty());
    CHECK(render_chat(nullptr, messages, Value(), context) == "System: Be brief.\n\nUser: Hi \nyou\n\nAssistant:");
    CHECK(said == "the model has no chat template: the messages are written as plain lines");
    std::string all_said;
    context.log = {[](void *user, int, const char *text) { *static_cast<std::string *>(user) += text; }, &all_said};
    render_chat(nullptr, messages, parse_json(R"({"tools": [{}], "documents": []})"), context);
    CHECK(all_said.find("so the tools are left out of the prompt") != std::string::npos);
    CHECK(all_said.find("documents") == std::string::npos);
    context.add_bos = true;
    CHECK(render_chat(nullptr, messages, Value(), context).find("<s>System: Be brief.") == 0);
    context.add_bos = false;
    context.has_chatml_tokens = true;
    CHECK(render_chat(nullptr, messages, Value(), context) ==
          "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi \nyou<|im_end|>\n<|im_start|>assistant\n");

    auto message = [&](const char *json) {
        return failure(Status::kInvalidText, [&] { render_chat(nullptr, parse_json(json), Value(), context); });
    };
    CHECK(message("{}") == "the messages are not an array");
    CHECK(message("[1]") == "messages[0] is not an object");
    CHECK(message(R"([{"role": "user"}, {"content": "x"}])") ==
          "messages[1] needs a \"role\" that is a string, such as \"user\"");
    CHECK(message(R"([{"role": "user", "content": 1}])") ==
          "messages[0].content is neither a string nor an array of parts");
    CHECK(message(R"([{"role": "user", "content": [1]}])") == "messages[0].content[0] is not an object");
    CHECK(message(R"([{"role": "user", "content": [{"type": "text"}]}])") ==
          "messages[0].content[0] has the type \"text\" and needs a \"text\" that is a string");
    CHECK(message(R"([{"role": "user", "content": [{"type": "image"}]}])").find("part of the type \"image\"") !=
          std::string::npos);
}

TEST_CASE("chat messages of parts, for templates that take parts and for those that do not") {
    Value messages = parse_json(R"([{"role": "system", "content": "S"}, {"role": "user", "name": "N", "content":
                                    [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])");
    auto rendered = [&](const char *source, const Value &given) {
        Template chat = Template::parse(source);
        return render_chat(&chat, given, Value(), ChatContext());
    };
    // As a list is added to a string, or as a list is printed.
    CHECK(rendered("{% for m in messages %}{{ '<' + m['content'] + m.get('name', '') + '>' }}{% endfor %}", messages) ==
          "<S><a\nbN>");
    CHECK(rendered("{% for m in messages %}<{{ m.content }}>{% endfor %}", messages) == "<S><a\nb>");
    CHECK(rendered("{% for m in messages %}<{{ m.content|tojson }}>{% endfor %}", messages) ==
          R"(<"S"><[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]>)");
    const char *both = "{% for m in messages %}<{% if m.content is string %}{{ m.content }}{% else %}"
                       "{% for p in m.content %}{{ p.text or p.type }},{% endfor %}{% endif %}>{% endfor %}";
    CHECK(rendered(both, messages) == "<S><a,b,>");
    CHECK(rendered("{{ messages[0].content[0].text }}", parse_json(R"([{"role": "user", "content":
        [{"type": "text", "text": "only parts"}]}])")) == "only parts");
    Value image = parse_json(R"([{"role": "user", "content": [{"type": "image"}]}])");
    CHECK(rendered(both, image) == "<image,>");
    CHECK(failure(Status::kInvalidText, [&] {
              rendered("{% for m in messages %}{{ m.content + '' }}{% endfor %}", image);
          }) == "messages[0].content has a part of the type \"image\", but the chat template takes only text");
    // What fails either way says so itself.
    CHECK(failure(Status::kTemplateFailed, [&] { rendered("{{ raise_exception('no') }}", messages); }).find("no") !=
          std::string::npos);
}
