// Memory on a device and what can go wrong with it, for code that throws inside the module; module.cu turns it into
// statuses.
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cuda_runtime.h>
#include <exception>
#include <utility>

namespace el::cuda {

// Numbers of Status.
enum : int32_t {
    kOk = 0,
    kInvalidArgument = 1,
    kOutOfMemory = 3,
    kUnsupported = 20,
    kNotFound = 21,
    kDeviceLost = 25,
    kInternal = 26
};

class Failure : public std::exception {
  public:
    __attribute__((format(printf, 3, 4))) Failure(int32_t status, const char *format, ...) : status_(status) {
        va_list args;
        va_start(args, format);
        std::vsnprintf(text_, sizeof text_, format, args);
        va_end(args);
    }
    int32_t status() const { return status_; }
    const char *what() const noexcept override { return text_; }

  private:
    int32_t status_;
    char text_[512];
};

// Errors that stay until the process ends: it has lost the device, with everything on it.
bool is_sticky(cudaError_t error);
constexpr char kLostAdvice[] =
    "the process has lost the GPU: save what you need and start it again; models and contexts on the CPU go on";

// Throws what a call that did not succeed means.
[[noreturn]] void fail_call(cudaError_t error, const char *what);
inline void check(cudaError_t error, const char *what) {
    if (error != cudaSuccess) fail_call(error, what);
}
// Of a call that was given the caller's stream or event.
void check_handle(cudaError_t error, const char *name);

int current_device();
int device_attribute(cudaDeviceAttr attribute, int device = current_device());

class DeviceMemory {
  public:
    DeviceMemory() = default;
    // Says what was needed and what was free.
    DeviceMemory(size_t bytes, const char *what);
    DeviceMemory(DeviceMemory &&other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
    DeviceMemory &operator=(DeviceMemory &&other) noexcept {
        std::swap(data_, other.data_);
        return *this;
    }
    ~DeviceMemory() { cudaFree(data_); }
    uint8_t *data() const { return static_cast<uint8_t *>(data_); }

  private:
    void *data_ = nullptr;
};

class HostMemory {  // pinned: the device copies from and to it, and reads it, without help of the CPU
  public:
    HostMemory(size_t bytes, const char *what);  // as above
    HostMemory(const HostMemory &) = delete;
    ~HostMemory() { cudaFreeHost(data_); }
    uint8_t *data() const { return static_cast<uint8_t *>(data_); }

  private:
    void *data_ = nullptr;
};

// Divides one block of memory; with a NULL base it only counts.
class Pieces {
  public:
    explicit Pieces(uint8_t *base = nullptr) : base_(base) {}
    template <typename T> T *take(size_t n) {
        size_t bytes = 0, end = 0;
        if (__builtin_mul_overflow(n, sizeof(T), &bytes) || __builtin_add_overflow(used_, bytes, &end) ||
            end > SIZE_MAX / 2)
            throw Failure(kOutOfMemory, "%zu objects are more than the address space holds", n);
        T *piece = base_ ? reinterpret_cast<T *>(base_ + used_) : nullptr;
        used_ = (end + 255) / 256 * 256;
        return piece;
    }
    size_t used() const { return used_; }

  private:
    uint8_t *base_;
    size_t used_ = 0;
};

}  // namespace el::cuda
