// A camera's pipeline and a language model on one GPU: how long frames take alone, while the model answers, and while
// it reads prompts. See docs/sharing-a-gpu.md.
//     beside_vision MODEL.gguf [KERNELS [TOKENS]]
// A frame is so many kernels over an image (default 30); a prompt is read so many tokens at a time (default 128).
#include <edgellm/edgellm.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

void check(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(cudaGetErrorString(error));
}

constexpr int kFrames = 60, kPixels = 1920 * 1080 * 3;
constexpr auto kPeriod = std::chrono::microseconds(33'333);  // 30 frames a second

__global__ void filter(const float *in, float *out) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < kPixels; i += gridDim.x * blockDim.x) {
        float sum = 0;
        for (int tap = 0; tap < 300; ++tap) sum = fmaf(sum, 0.999f, in[i]);
        out[i] = sum;
    }
}

// Stands for whatever detects and tracks.
class Pipeline {
  public:
    Pipeline(bool urgent, int n_kernels) : n_kernels_(n_kernels) {
        int least = 0, greatest = 0;
        check(cudaDeviceGetStreamPriorityRange(&least, &greatest));
        check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, urgent ? greatest : least));
        for (float *&image : image_) {
            check(cudaMalloc(&image, kPixels * sizeof(float)));
            check(cudaMemsetAsync(image, 0, kPixels * sizeof(float), stream_));
        }
        frame();  // the first one loads the kernel
    }
    Pipeline(const Pipeline &) = delete;
    ~Pipeline() {
        for (float *image : image_) cudaFree(image);
        cudaStreamDestroy(stream_);
    }
    double frame() {  // milliseconds
        const auto begin = Clock::now();
        for (int i = 0; i < n_kernels_; ++i) filter<<<1024, 256, 0, stream_>>>(image_[i % 2], image_[(i + 1) % 2]);
        check(cudaGetLastError());
        check(cudaStreamSynchronize(stream_));
        return Milliseconds(Clock::now() - begin).count();
    }

  private:
    int n_kernels_;
    cudaStream_t stream_ = nullptr;
    float *image_[2] = {};
};

// Decodes on a thread of its own until it goes, n_tokens at a time.
class Talker {
  public:
    Talker(const edgellm::Model &model, int n_tokens)
        : context_(model, {.context_tokens = std::max(n_tokens, kContext), .max_batch_tokens = n_tokens}),
          tokens_(size_t(n_tokens)) {
        context_.decode(tokens_);
        thread_ = std::thread([this] { talk(); });
    }
    ~Talker() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }
    double stop() {  // tokens a second
        stop_ = true;
        thread_.join();
        if (!error_.empty()) throw std::runtime_error(error_);
        return rate_;
    }

  private:
    void talk() try {
        const auto begin = Clock::now();
        size_t n = 0;
        while (!stop_) {
            if (context_.sequence_length(0) + int32_t(tokens_.size()) > context_.info().context_tokens)
                context_.sequence_remove(0, 0);
            context_.decode(tokens_);
            n += tokens_.size();
        }
        rate_ = double(n) / std::chrono::duration<double>(Clock::now() - begin).count();
    } catch (const std::exception &error) {
        error_ = error.what();
    }

    static constexpr int32_t kContext = 1024;
    edgellm::Context context_;
    std::vector<edgellm::Token> tokens_;  // which ones makes no difference
    std::atomic<bool> stop_{false};
    double rate_ = 0;
    std::string error_;
    std::thread thread_;
};

void measure(Pipeline &pipeline, const char *beside, Talker *talker) {
    std::vector<double> took;
    auto next = Clock::now();
    for (int i = 0; i < kFrames; ++i) {
        std::this_thread::sleep_until(next += kPeriod);
        took.push_back(pipeline.frame());
    }
    std::sort(took.begin(), took.end());
    std::printf("  %-8s median %6.2f ms, longest %6.2f ms", beside, took[kFrames / 2], took.back());
    if (talker) std::printf(", %8.0f tokens/s", talker->stop());
    std::printf("\n");
}

void run(const char *path, int n_kernels, int n_tokens) {
    const edgellm::Model model(path, {.device = "cuda"});
    for (bool urgent : {true, false}) {
        std::printf("frames on a stream with the %s priority\n", urgent ? "greatest" : "least");
        Pipeline pipeline(urgent, n_kernels);
        measure(pipeline, "alone", nullptr);
        for (int n : {1, n_tokens}) {
            Talker talker(model, n);
            measure(pipeline, n == 1 ? "answers" : "prompts", &talker);
        }
    }
}

}  // namespace

int main(int argc, char **argv) try {
    const int n_kernels = argc > 2 ? std::atoi(argv[2]) : 30, n_tokens = argc > 3 ? std::atoi(argv[3]) : 128;
    if (argc < 2 || argc > 4 || n_kernels < 1 || n_tokens < 2) {
        std::fprintf(stderr, "usage: %s MODEL.gguf [KERNELS [TOKENS]]\n", argv[0]);
        return 2;
    }
    run(argv[1], n_kernels, n_tokens);
    return EXIT_SUCCESS;
} catch (const std::exception &error) {
    std::fprintf(stderr, "beside_vision: %s\n", error.what());
    return EXIT_FAILURE;
}
