#include "blas.h"

#include <dlfcn.h>

#if __has_include(<cublas_v2.h>)
#include <cublas_v2.h>

namespace el::cuda {
namespace {

struct Library {
    decltype(&::cublasCreate_v2) create = nullptr;
    decltype(&::cublasDestroy_v2) destroy = nullptr;
    decltype(&::cublasSetStream_v2) set_stream = nullptr;
    decltype(&::cublasSetWorkspace_v2) set_workspace = nullptr;
    decltype(&::cublasSetMathMode) set_math_mode = nullptr;
    cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                           const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                           cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t) = nullptr;
    decltype(&::cublasSgemm_v2) sgemm = nullptr;
    bool complete = false;

    // Of the version that the headers are from: the system's folders are searched.
    Library() {
        char name[32];
        std::snprintf(name, sizeof name, "libcublas.so.%d", CUBLAS_VER_MAJOR);
        void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (!library) return;
        auto find = [&](auto &function, const char *symbol) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, symbol));
            return function != nullptr;
        };
        complete = find(create, "cublasCreate_v2") && find(destroy, "cublasDestroy_v2") &&
                   find(set_stream, "cublasSetStream_v2") && find(set_workspace, "cublasSetWorkspace_v2") &&
                   find(set_math_mode, "cublasSetMathMode") && find(gemm, "cublasGemmEx") &&
                   find(sgemm, "cublasSgemm_v2");
    }
};

const Library &library() {
    static const Library loaded;
    return loaded;
}

// The library's statuses do not tell a lost device from other failures, nor always a lack of memory; CUDA does.
void check(cublasStatus_t status, const char *what) {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    size_t available = 0, total = 0;
    cudaGetLastError();
    cuda::check(cudaMemGetInfo(&available, &total), what);
    const double free_mib = double(available) / (1 << 20);
    if (status == CUBLAS_STATUS_ALLOC_FAILED)
        throw Failure(kOutOfMemory, "%s: cuBLAS finds no memory; %.1f MiB are free on the GPU", what, free_mib);
    // What the library says of any failure to start, which mostly is for lack of memory.
    if (status == CUBLAS_STATUS_NOT_INITIALIZED)
        throw Failure(
            kOutOfMemory,
            "%s: cuBLAS takes about %zu MiB, and %.1f MiB are free on the GPU (status %d). If that is enough, "
            "libcublas.so.%d may not fit the driver; the environment variable EDGELLM_CUDA_PREFILL=fused does "
            "without cuBLAS",
            what, Blas::kOwnBytes >> 20, free_mib, int(status), CUBLAS_VER_MAJOR);
    throw Failure(kInternal, "%s: cuBLAS reports status %d", what, int(status));
}

cublasHandle_t as_handle(void *p) { return static_cast<cublasHandle_t>(p); }

}  // namespace

bool Blas::available() { return library().complete; }

Blas::Blas(cudaStream_t stream, uint8_t *workspace) {
    const Library &l = library();
    cublasHandle_t handle = nullptr;
    check(l.create(&handle), "starting cuBLAS");
    handle_ = handle;
    try {
        use(stream, workspace);
        check(l.set_math_mode(handle, CUBLAS_DEFAULT_MATH), "setting cuBLAS to full precision");
    } catch (...) {
        l.destroy(handle);
        throw;
    }
}

void Blas::use(cudaStream_t stream, uint8_t *workspace) {
    check(library().set_stream(as_handle(handle_), stream), "giving cuBLAS a stream");
    // After the stream, as that takes the workspace away.
    check(library().set_workspace(as_handle(handle_), workspace, kWorkspaceBytes), "giving cuBLAS memory");
}

Blas::~Blas() { library().destroy(as_handle(handle_)); }

// The library's matrices are stored by column: they are the transposed ones of ours.
void Blas::multiply(const Product &p, const __half *w, const __half *x, float factor, float *out) const {
    const float zero = 0;
    check(library().gemm(as_handle(handle_), CUBLAS_OP_T, CUBLAS_OP_N, p.rows, p.n, p.cols, &factor, w, CUDA_R_16F,
                         p.w_stride, x, CUDA_R_16F, p.x_stride, &zero, out, CUDA_R_32F, p.out_stride,
                         CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "a matrix product");
}

void Blas::multiply(const Product &p, const float *w, const float *x, float *out) const {
    const float zero = 0, one = 1;
    check(library().sgemm(as_handle(handle_), CUBLAS_OP_T, CUBLAS_OP_N, p.rows, p.n, p.cols, &one, w, p.w_stride, x,
                          p.x_stride, &zero, out, p.out_stride),
          "a matrix product");
}

}  // namespace el::cuda

#else

namespace el::cuda {

bool Blas::available() { return false; }
Blas::Blas(cudaStream_t, uint8_t *) { throw Failure(kUnsupported, "the CUDA module was built without cuBLAS"); }
Blas::~Blas() = default;
void Blas::use(cudaStream_t, uint8_t *) {}
void Blas::multiply(const Product &, const __half *, const __half *, float, float *) const {}
void Blas::multiply(const Product &, const float *, const float *, float *) const {}

}  // namespace el::cuda

#endif
