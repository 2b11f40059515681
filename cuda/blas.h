// cuBLAS, loaded when it is first wanted: without it the module still works, with kernels of its own.
#pragma once
#include "device.h"

#include <cuda_fp16.h>

namespace el::cuda {

// out [n, rows] (+)= x [n, cols] * w [rows, cols]^T; float16 inputs are summed as float32.
struct Product {
    int rows, n, cols;
    int w_stride, x_stride, out_stride;  // values from row to row
};

// One stream's use of the library.
class Blas {
  public:
    static bool available();
    static constexpr size_t kWorkspaceBytes = 32 << 20;  // what the library asks for on the largest chips
    // What each use takes itself, as measured on an H200: mostly a workspace that ours takes the place of.
    static constexpr size_t kOwnBytes = 66 << 20;

    Blas(cudaStream_t stream, uint8_t *workspace);
    Blas(const Blas &) = delete;
    ~Blas();

    void use(cudaStream_t stream, uint8_t *workspace);
    void multiply(const Product &p, const __half *w, const __half *x, float factor, float *out) const;
    void multiply(const Product &p, const float *w, const float *x, float *out) const;  // without TF32

  private:
    void *handle_ = nullptr;
};

}  // namespace el::cuda
