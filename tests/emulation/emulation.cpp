#include <cuda_runtime.h>

#include <deque>
#include <memory>
#include <ucontext.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

size_t shared_bytes = 0;

namespace {

constexpr size_t kStackBytes = 64 << 10;

struct Copy {
    void *to;
    const void *from;
    size_t bytes;
};

struct Barrier {
    unsigned expected = 0, arrived = 0, generation = 0;
};

struct Fiber {
    ucontext_t context;
    std::vector<uint8_t> stack;
    bool done = false;
    std::deque<std::vector<Copy>> copies;  // groups, the last of which is open
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Barrier> warps;
    std::vector<uint32_t> exchanged;  // per thread
    Barrier all;
    std::vector<uint8_t> shared;
    ucontext_t scheduler;
    unsigned current = 0;
    const std::function<void()> *kernel = nullptr;
};
Block *block = nullptr;

void enter() {
    (*block->kernel)();
    block->fibers[block->current].done = true;
}

void wait(Barrier &barrier) {
    const unsigned generation = barrier.generation;
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.generation;
        return;
    }
    while (barrier.generation == generation) swapcontext(&block->fibers[block->current].context, &block->scheduler);
}

void run_block(unsigned n) {
    for (unsigned t = 0; t < n; ++t) {
        Fiber &fiber = block->fibers[t];
        fiber.done = false;
        fiber.copies.assign(1, {});
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &block->scheduler;
        makecontext(&fiber.context, enter, 0);
    }
    for (unsigned running = n; running > 0;) {
        running = 0;
        for (unsigned t = 0; t < n; ++t) {
            if (block->fibers[t].done) continue;
            ++running;
            block->current = t;
            threadIdx = dim3(t);
            swapcontext(&block->scheduler, &block->fibers[t].context);
        }
    }
}

}  // namespace

void run(dim3 blocks, dim3 threads, size_t dynamic_bytes, const std::function<void()> &kernel) {
    shared_bytes = dynamic_bytes;
    Block mine;
    mine.fibers.resize(threads.x);
    for (Fiber &fiber : mine.fibers) fiber.stack.resize(kStackBytes);
    mine.warps.assign(threads.x / 32, {32});
    mine.exchanged.resize(threads.x);
    mine.all.expected = threads.x;
    mine.kernel = &kernel;
    block = &mine;
    gridDim = blocks;
    blockDim = threads;
    for (unsigned b = 0; b < blocks.x; ++b) {
        mine.shared.assign(shared_bytes + 15, 0xcd);
        blockIdx = dim3(b);
        run_block(threads.x);
    }
    block = nullptr;
}

uint8_t *dynamic_shared() {
    const auto address = reinterpret_cast<uintptr_t>(block->shared.data());
    return block->shared.data() + (16 - address % 16) % 16;
}

void wait_for_block() { wait(block->all); }
void wait_for_warp() { wait(block->warps[block->current / 32]); }

uint32_t shuffle_xor(uint32_t value, int mask) {
    const unsigned me = block->current;
    block->exchanged[me] = value;
    wait_for_warp();
    const uint32_t result = block->exchanged[me ^ unsigned(mask)];
    wait_for_warp();
    return result;
}

void copy_async(void *to, const void *from, size_t bytes) {
    block->fibers[block->current].copies.back().push_back({to, from, bytes});
}
void close_copies() { block->fibers[block->current].copies.emplace_back(); }
void wait_for_copies(int open) {
    auto &groups = block->fibers[block->current].copies;
    for (; groups.size() > size_t(open) + 1; groups.pop_front())
        for (const Copy &copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
}

}  // namespace emulation
