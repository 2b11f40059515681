#include "backend/reference/ops.h"
#include "backend/host/rotation.h"

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

void norm(const NormArgs &args, const float *x, const NormWeights &weights, uint32_t width, float *out) {
    const uint32_t n = width / args.groups;
    for (uint32_t g = 0; g < args.groups; ++g, x += n, out += n) {
        float mean = 0;
        if (args.kind == NormKind::kLayer) {
            for (uint32_t i = 0; i < n; ++i) mean += x[i];
            mean /= float(n);
        }
        for (uint32_t i = 0; i < n; ++i) out[i] = x[i] - mean;
        const float scale = 1.0f / std::sqrt(dot(out, out, n) / float(n) + args.epsilon);
        const size_t first = weights.width == width ? size_t(g) * n : 0;
        for (uint32_t i = 0; i < n; ++i) {
            out[i] *= scale;
            if (weights.weight) out[i] *= weights.weight[first + i];
            if (weights.bias) out[i] += weights.bias[first + i];
        }
    }
}

void rope(const RopeArgs &args, const float *frequencies, const float *factors, int32_t position, const float *x,
          float *out) {
    const uint32_t half = args.dims / 2;
    const bool interleaved = args.pairs == RopePairs::kInterleaved;
    std::copy_n(x, size_t(args.n_heads) * args.head_dim, out);
    for (uint32_t i = 0; i < half; ++i) {
        // In double: sequences may go on for millions of tokens.
        const double angle = position * double(frequencies[i]) / (factors ? factors[i] : 1.0f);
        const float c = float(std::cos(angle)) * args.magnitude, s = float(std::sin(angle)) * args.magnitude;
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
        format.decode(plane.row(slot, in.kv_head), plane.values(), in.row);
        if (plane.rotated) host::rotate_back(in.row, plane.head_dim);
    };
    float highest = in.sink ? *in.sink : -INFINITY;
    for (int32_t i = in.begin; i < in.end; ++i) {
        if (!Step::sees(in.ancestors, i, in.end)) {
            in.scores[i - in.begin] = -INFINITY;
            continue;
        }
        decode(*in.k, i);
        float score = dot(q, in.row, in.k->head_dim) * in.scale;
        if (in.soft_cap > 0) score = in.soft_cap * std::tanh(score / in.soft_cap);
        in.scores[i - in.begin] = score;
        highest = std::max(highest, score);
    }
    float sum = in.sink ? std::exp(*in.sink - highest) : 0.0f;
    for (int32_t i = in.begin; i < in.end; ++i)
        sum += in.scores[i - in.begin] = std::exp(in.scores[i - in.begin] - highest);
    std::fill_n(out, in.v->head_dim, 0.0f);
    for (int32_t i = in.begin; i < in.end; ++i) {
        if (!Step::sees(in.ancestors, i, in.end)) continue;
        decode(*in.v, i);
        float share = in.scores[i - in.begin] / sum;
        for (uint32_t d = 0; d < in.v->head_dim; ++d) out[d] += share * in.row[d];
    }
}

namespace {

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

float activate(ActivationKind activation, float x) {
    switch (activation) {
    case ActivationKind::kNone:
        return x;
    case ActivationKind::kSilu:
        return x * sigmoid(x);
    case ActivationKind::kGelu:  // Hendrycks, Gimpel 2016; the factor is sqrt(2 / pi)
        return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case ActivationKind::kReluSquared:
        return x > 0 ? x * x : 0.0f * x;  // so that NaN stays NaN
    case ActivationKind::kSigmoid:
        return sigmoid(x);
    case ActivationKind::kClampedSwiglu:
        x = std::min(x, 7.0f);
        return x * sigmoid(1.702f * x);
    }
    return x;
}

}  // namespace

void gate(ActivationKind activation, const GateInput &in, uint32_t width, float *out) {
    for (uint32_t i = 0; i < width; ++i) {
        float b = in.b ? in.b[i] : 1.0f;
        if (activation == ActivationKind::kClampedSwiglu) b = std::clamp(b, -7.0f, 7.0f) + 1.0f;
        out[i] = activate(activation, in.a[in.a_width == 1 ? 0 : i]) * b;
    }
}

float scale_factor(const ScaleArgs &args, int32_t position) {
    if (args.interval == 0) return args.factor;
    return args.factor * (1.0f + args.slope * std::log(1.0f + float(uint32_t(position) / args.interval)));
}

void slice(const SliceArgs &args, const float *x, uint32_t in_width, float *out) {
    const size_t part = in_width / args.groups;
    for (uint32_t g = 0; g < args.groups; ++g) std::copy_n(x + g * part + args.begin, args.n, out + size_t(g) * args.n);
}

void route(const RouteArgs &args, const float *logits, float *out) {
    float highest = -INFINITY, sum = 0, chosen = 0;
    for (uint32_t e = 0; e < args.n_experts; ++e) highest = std::max(highest, logits[e]);
    for (uint32_t e = 0; e < args.n_experts; ++e) sum += std::exp(logits[e] - highest);
    auto taken = [&](uint32_t e, uint32_t n) { return std::find(out, out + n, float(e)) != out + n; };
    for (uint32_t i = 0; i < args.n_used; ++i) {
        uint32_t best = args.n_experts;  // the first of equals; NaN loses
        for (uint32_t e = 0; e < args.n_experts; ++e)
            if (!taken(e, i) && (best == args.n_experts || logits[e] > logits[best] || logits[best] != logits[best]))
                best = e;
        out[i] = float(best);
        chosen += out[args.n_used + i] = std::exp(logits[best] - highest) / sum;
    }
    for (uint32_t i = 0; i < args.n_used; ++i)
        out[args.n_used + i] *= args.normalize ? args.scale / chosen : args.scale;
}

void expert_scale(const ExpertScale &in, const float *x, uint32_t width, float *out) {
    const uint32_t n = width / in.n_used;
    for (uint32_t i = 0; i < width; ++i) {
        const size_t expert = static_cast<size_t>(in.route[i / n]);
        out[i] = x[i] * in.scales[expert] + (in.bias ? in.bias[expert * n + i % n] : 0.0f);
    }
}

void combine(const float *parts, const float *route, uint32_t n_used, uint32_t width, float *out) {
    std::fill_n(out, width, 0.0f);
    for (uint32_t i = 0; i < n_used; ++i)
        for (uint32_t d = 0; d < width; ++d) out[d] += route[n_used + i] * parts[size_t(i) * width + d];
}

void write_row(const CachePlane &plane, int32_t slot, uint32_t kv_head, const float *x, float *padded) {
    const FormatInfo &format = format_info(plane.format);
    std::copy_n(x, plane.head_dim, padded);
    if (plane.rotated) host::rotate(padded, plane.head_dim);
    std::fill(padded + plane.head_dim, padded + plane.values(), 0.0f);
    format.encode(padded, plane.values(), plane.row(slot, kv_head));
}

}  // namespace el::reference
