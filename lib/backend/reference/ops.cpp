#include "backend/reference/ops.h"

#include <algorithm>
#include <cmath>

namespace el::reference {

// Eight partial sums in a fixed order: as exact as a plain loop or better, and compilers can vectorise it.
float dot(const float *a, const float *b, size_t n) {
    float part[8] = {};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; ++j) part[j] += a[i + j] * b[i + j];
    for (size_t j = 0; i < n; ++i, ++j) part[j] += a[i] * b[i];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

void norm(const NormArgs &args, const float *x, const float *weight, uint32_t width, float *out) {
    const uint32_t n = width / args.groups;
    for (uint32_t g = 0; g < args.groups; ++g, x += n, out += n) {
        float scale = 1.0f / std::sqrt(dot(x, x, n) / float(n) + args.epsilon);
        for (uint32_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
    }
}

void rope(const RopeArgs &args, const float *frequencies, const float *factors, int32_t position, const float *x,
          float *out) {
    const uint32_t half = args.dims / 2;
    const bool interleaved = args.pairs == RopePairs::kInterleaved;
    std::copy_n(x, size_t(args.n_heads) * args.head_dim, out);
    for (uint32_t i = 0; i < half; ++i) {
        float angle = float(position) * frequencies[i] / (factors ? factors[i] : 1.0f);
        float c = std::cos(angle) * args.magnitude, s = std::sin(angle) * args.magnitude;
        uint32_t first = interleaved ? 2 * i : i, second = interleaved ? 2 * i + 1 : i + half;
        for (uint32_t h = 0; h < args.n_heads; ++h) {
            const float *from = x + size_t(h) * args.head_dim;
            float *to = out + size_t(h) * args.head_dim;
            float a = from[first], b = from[second];
            to[first] = a * c - b * s;
            to[second] = a * s + b * c;
        }
    }
}

void attend(const AttentionInput &in, const float *q, float *out) {
    auto decode = [&](const CachePlane &plane, int32_t i) {
        int32_t slot = in.pages[i / int32_t(kPageTokens)] * int32_t(kPageTokens) + i % int32_t(kPageTokens);
        const FormatInfo &format = format_info(plane.format);
        format.decode(plane.row(slot, in.kv_head), plane.row_bytes / format.bytes * format.values, in.row);
    };
    float highest = -INFINITY;
    for (int32_t i = in.begin; i < in.end; ++i) {
        decode(*in.k, i);
        float score = dot(q, in.row, in.k->head_dim) * in.scale;
        in.scores[i - in.begin] = score;
        highest = std::max(highest, score);
    }
    float sum = 0;
    for (int32_t i = in.begin; i < in.end; ++i)
        sum += in.scores[i - in.begin] = std::exp(in.scores[i - in.begin] - highest);
    std::fill_n(out, in.v->head_dim, 0.0f);
    for (int32_t i = in.begin; i < in.end; ++i) {
        decode(*in.v, i);
        float share = in.scores[i - in.begin] / sum;
        for (uint32_t d = 0; d < in.v->head_dim; ++d) out[d] += share * in.row[d];
    }
}

void gate(const GateArgs &args, const float *a, const float *b, uint32_t width, float *out) {
    switch (args.activation) {
    case ActivationKind::kSilu:
        for (uint32_t i = 0; i < width; ++i) out[i] = a[i] / (1.0f + std::exp(-a[i])) * b[i];
    }
}

void write_row(const CachePlane &plane, int32_t slot, uint32_t kv_head, const float *x, float *padded) {
    const FormatInfo &format = format_info(plane.format);
    size_t values = plane.row_bytes / format.bytes * format.values;
    std::copy_n(x, plane.head_dim, padded);
    std::fill(padded + plane.head_dim, padded + values, 0.0f);
    format.encode(padded, values, plane.row(slot, kv_head));
}

}  // namespace el::reference
