// Any bytes as a chat template, with small limits: a text or an error, quickly.
#include "base/status.h"
#include "text/json.h"
#include "text/template.h"
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const el::Value variables = el::parse_json(
        R"({"messages": [{"role": "user", "content": "Hi there"}, {"role": "assistant", "content": null, "n": 1.5}],
            "bos_token": "<s>", "add_generation_prompt": true, "tools": [{"name": "f", "parameters": {"a": [1, 2]}}]})");
    el::RenderOptions options;
    options.now = el::parse_iso_time("2025-07-26T12:00:00");
    options.limits.max_steps = 20'000;
    options.limits.max_output_bytes = 1 << 16;
    options.limits.max_memory_bytes = 1 << 22;
    options.limits.max_parse_depth = 100;
    options.limits.max_call_depth = 150;
    try {
        std::string_view source(reinterpret_cast<const char *>(data), size);
        el::Template::parse(source, options.limits).render(variables, options);
    } catch (const el::Error &) {
    }
    return 0;
}
