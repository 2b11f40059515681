// The shapes of real models, for `edgellm synth`: public facts from their configurations.
#pragma once
#include <cstdint>
#include <span>

namespace tool {

struct Shape {
    const char *name;          // as on the command line
    const char *architecture;  // general.architecture
    uint32_t layers, width, ffn_width, heads, kv_heads, head_dim, vocab, context;
    float rope_base;
    float rope_factor;  // of llama 3's rescaled frequencies; 0: none
    float norm_epsilon;
    bool tied;      // the output matrix is the embedding
    bool qkv_bias;  // biases of query, key and value
    bool qk_norm;   // norms of query and key: of each head, or with wide_norms of all heads together
    bool wide_norms = false;
    uint32_t experts = 0, experts_used = 0;  // 0: none; ffn_width is that of an expert
    bool post_norms = false;                 // norms after attention and feed-forward, too
    uint32_t window = 0;                     // of the layers that have one, in tokens; 0: none
};

std::span<const Shape> shapes();
const Shape *find_shape(const char *name);  // NULL if there is none

}  // namespace tool
