// Fuzzes all between a model's file and its logits: any bytes give an Error, or a model that every backend and
// instruction set here can run.
#include "base/status.h"
#include "engine/backends.h"
#include "engine/context.h"
#include "program/build.h"

#include <cstdlib>
#include <cstring>
#include <random>
#include <sys/mman.h>
#include <unistd.h>

using namespace el;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);  // libFuzzer's own

namespace {

constexpr uint64_t kMaxBytes = 16 << 20;  // of weights, and of a context: inputs are far smaller

void check(bool ok) {
    if (!ok) std::abort();
}

void use_backends() {
    static constexpr BackendEntry kEntries[] = {
        {"cpu", true, create_reference_backend},
        {"cpu", false, create_cpu_backend},
    };
    set_backends(kEntries);
}

GgufFile open_copy(int fd) {
    int copy = dup(fd);
    check(copy >= 0);
    return GgufFile::open(File::from_fd(copy, "fuzz.gguf"));
}

void decode(Context &context, std::initializer_list<int32_t> tokens) {
    Batch batch;
    batch.tokens = tokens.begin();
    batch.n = tokens.size();
    Report report;
    Status status = context.decode(batch, report);
    check(status != Status::kInternal && context.n_outputs() == (status == Status::kOk ? 1 : 0));
    double sum = 0;
    for (uint32_t i = 0; context.n_outputs() && i < context.model().n_vocab(); ++i) sum += context.logits(0)[i];
    [[maybe_unused]] volatile double read = sum;
}

void run(int fd, const ModelOptions &options) {
    std::shared_ptr<const Model> model = Model::load(open_copy(fd), options);
    if (!model->has_weights()) return;
    check(model->weight_bytes() < kMaxBytes);
    check(!dump_program(model->program(), model->tensors()).empty());
    ContextOptions wanted;
    wanted.context_tokens = std::min(model->spec().context_length, 40u);  // more than a page
    wanted.max_batch_tokens = 3;
    wanted.threads.threads = 1;
    if (options.reference_kernels) wanted.cache_k = Format::kF32;
    Context context(model, wanted);
    check(context.memory_bytes() < kMaxBytes);
    const int32_t last = static_cast<int32_t>(model->n_vocab()) - 1;
    decode(context, {0, last, last / 2});
    decode(context, {last});
}

void attempt(int fd, const ModelOptions &options) {
    try {
        run(fd, options);
    } catch (const Error &e) {
        check(e.status() != Status::kInternal && e.status() != Status::kOk && e.status() != Status::kOutOfMemory);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    use_backends();
    int fd = memfd_create("model_fuzz", MFD_CLOEXEC);
    check(fd >= 0 && write(fd, data, size) == static_cast<ssize_t>(size));
    ModelOptions options;
    options.log.function = [](void *, int, const char *text) { check(*text != 0); };
    options.reference_kernels = options.map = true;
    attempt(fd, options);
    options.reference_kernels = options.map = false;
    for (Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
        if (!isa_available(isa)) continue;
        options.isa = isa;
        attempt(fd, options);
    }
    close(fd);
    return 0;
}

// Most of a file is weights: half of the time one number of the header becomes another.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    static constexpr uint32_t kNumbers[] = {0,          1,          2,          3,          4,          7,
                                            8,          16,         31,         33,         64,         1 << 20,
                                            1u << 30,   0x7fffffff, 0x80000000, 0xffffffff, 0x7fc00000, 0x7f800000,
                                            0x3f800000, 0x7f7fffff, 0xbf800000};
    constexpr size_t kHeaderBytes = 2500;
    std::minstd_rand random(seed);
    if (size < sizeof(uint32_t) || random() % 2) return LLVMFuzzerMutate(data, size, max_size);
    const size_t at = random() % (std::min(size, kHeaderBytes) - sizeof(uint32_t) + 1);
    std::memcpy(data + at, &kNumbers[random() % std::size(kNumbers)], sizeof(uint32_t));
    return size;
}
