// Activations and gates of single values.
#pragma once
#include "program/op.h"

#include <cuda_runtime.h>

namespace el::cuda {

__device__ inline float tanh_of(float x) { return 1.0f - __fdividef(2.0f, 1.0f + __expf(2.0f * x)); }
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

__device__ inline float activate(ActivationKind kind, float x) {
    switch (kind) {
    case ActivationKind::kNone:
        return x;
    case ActivationKind::kSilu:
        return x * sigmoid(x);
    case ActivationKind::kGelu:
        return 0.5f * x * (1.0f + tanh_of(0.79788456f * (x + 0.044715f * x * x * x)));
    case ActivationKind::kReluSquared:
        return x > 0 ? x * x : 0.0f * x;
    case ActivationKind::kSigmoid:
        return sigmoid(x);
    case ActivationKind::kClampedSwiglu:
        x = fminf(x, 7.0f);
        return x * sigmoid(1.702f * x);
    }
    return x;
}

__device__ inline float gated(ActivationKind kind, float a, float b) {
    if (kind == ActivationKind::kClampedSwiglu) b = fminf(fmaxf(b, -7.0f), 7.0f) + 1.0f;
    return activate(kind, a) * b;
}

}  // namespace el::cuda
