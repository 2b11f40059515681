#include "synth_shapes.h"

#include <cstring>

namespace tool {
namespace {

// clang-format off
constexpr Shape kShapes[] = {
    // name, architecture, layers, width, ffn, heads, kv heads, head_dim, vocab, context, rope base, factor, epsilon, tied, bias, qk norm, wide norms, experts, experts used, post norms, window
    {"llama-3.2-1b",   "llama", 16, 2048,  8192, 32,  8,  64, 128256, 131072,  500000, 32, 1e-5f, true,  false, false},
    {"llama-3.2-3b",   "llama", 28, 3072,  8192, 24,  8, 128, 128256, 131072,  500000, 32, 1e-5f, true,  false, false},
    {"llama-3.1-8b",   "llama", 32, 4096, 14336, 32,  8, 128, 128256, 131072,  500000,  8, 1e-5f, false, false, false},
    {"tinyllama-1.1b", "llama", 22, 2048,  5632, 32,  4,  64,  32000,   2048,   10000,  0, 1e-5f, false, false, false},
    {"smollm2-135m",   "llama", 30,  576,  1536,  9,  3,  64,  49152,   8192,  100000,  0, 1e-5f, true,  false, false},
    {"smollm2-1.7b",   "llama", 24, 2048,  8192, 32, 32,  64,  49152,   8192,  130000,  0, 1e-5f, true,  false, false},
    {"qwen3-0.6b",     "qwen3", 28, 1024,  3072, 16,  8, 128, 151936,  40960, 1000000,  0, 1e-6f, true,  false, true},
    {"qwen3-1.7b",     "qwen3", 28, 2048,  6144, 16,  8, 128, 151936,  40960, 1000000,  0, 1e-6f, true,  false, true},
    {"qwen3-4b",       "qwen3", 36, 2560,  9728, 32,  8, 128, 151936,  40960, 1000000,  0, 1e-6f, true,  false, true},
    {"qwen3-8b",       "qwen3", 36, 4096, 12288, 32,  8, 128, 151936,  40960, 1000000,  0, 1e-6f, false, false, true},
    {"qwen3-30b-a3b", "qwen3moe", 48, 2048, 768, 32, 4, 128, 151936,  40960, 1000000,  0, 1e-6f, false, false, true, false, 128, 8},
    {"olmoe-1b-7b",    "olmoe", 16, 2048,  1024, 16, 16, 128,  50304,   4096,   10000,  0, 1e-5f, false, false, true, true, 64, 8},
    {"gemma-3-1b",    "gemma3", 26, 1152,  6912,  4,  1, 256, 262144,  32768, 1000000,  0, 1e-6f, true,  false, true, false, 0, 0, true, 512},
    {"gemma-3-4b",    "gemma3", 34, 2560, 10240,  8,  4, 256, 262144, 131072, 1000000,  0, 1e-6f, true,  false, true, false, 0, 0, true, 1024},
    {"qwen2.5-3b",     "qwen2", 36, 2048, 11008, 16,  2, 128, 151936,  32768, 1000000,  0, 1e-6f, true,  true,  false},
};
// clang-format on

}  // namespace

std::span<const Shape> shapes() { return kShapes; }

const Shape *find_shape(const char *name) {
    for (const Shape &shape : kShapes)
        if (std::strcmp(shape.name, name) == 0) return &shape;
    return nullptr;
}

}  // namespace tool
