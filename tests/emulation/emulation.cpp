#include <algorithm>
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <ucontext.h>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

Predecessors predecessors;
size_t shared_bytes = 0, copied_bytes = 0;
bool has_bulk_copies = false, early_copies = false;
unsigned fitting_blocks = 4;

namespace {

constexpr size_t kStackBytes = 128 << 10;

struct Copy {
    void *to;
    const void *from;
    size_t bytes, n = 1, stride = 0;  // n of so many bytes each, to places `stride` apart
};

struct Barrier {
    unsigned expected = 0, arrived = 0, generation = 0;

    unsigned arrive() {
        const unsigned before = generation;
        if (++arrived == expected) arrived = 0, ++generation;
        return before;
    }
};

struct Warp {
    Barrier barrier{32};
    alignas(16) uint8_t exchanged[2][32 * kMaxExchangedBytes];  // by turns, so that one wait is enough
};

// Copies of runs of bytes on their way.
struct Arrivals {
    std::deque<Copy> copies;
    unsigned n_asked = 0, n_arrived = 0;
    uint32_t readers = 0;      // lanes of the warp that waited for the last
    unsigned fences[32] = {};  // that these had made before
};

struct Block {
    dim3 index;
    unsigned running = 0;  // threads
    Barrier all;
    std::vector<Warp> warps;
    std::vector<uint4> shared;
    int counts[2] = {};  // by turns, so that one wait is enough
    std::map<const uint64_t *, Arrivals> arrivals = {};
    std::map<unsigned, Barrier> teams = {};
    std::vector<unsigned> fences = {};  // of each thread

    uint8_t *memory() { return reinterpret_cast<uint8_t *>(shared.data()); }
};

// Bytes that others send.
struct Inbox {
    Block *owner;
    size_t open;  // bytes yet to come
    unsigned generation = 0;
    std::vector<std::pair<uintptr_t, std::vector<uint8_t>>> stores;
};

#if defined(__clang__) && !defined(__x86_64__)  // which has no such built-ins
using Place = ucontext_t;
void go_on(Place &here, Place &to) { swapcontext(&here, &to); }
void begin(Place &here, ucontext_t &context) { swapcontext(&here, &context); }
#else
// Other fibers run before such a function returns: compilers must not know what it leaves alone. And AddressSanitizer
// would take it for one that leaves the stack.
#ifdef __clang__
#define EL_OPAQUE [[clang::optnone, gnu::noinline, gnu::no_sanitize_address]]
#else
#define EL_OPAQUE [[gnu::noipa, gnu::no_sanitize_address]]
#endif
using Place = void *[5];  // what __builtin_setjmp keeps
EL_OPAQUE [[noreturn]] void leap(Place &to) { __builtin_longjmp(to, 1); }
// Goes on at `to`, and returns when somebody goes on at `here`. swapcontext() would make a system call for the signal
// mask, and clear what AddressSanitizer knows of the stack.
EL_OPAQUE void go_on(Place &here, Place &to) {
    if (__builtin_setjmp(here) == 0) leap(to);
}
// The same for a context that begins.
EL_OPAQUE void begin(Place &here, ucontext_t &context) {
    ucontext_t unused;
    if (__builtin_setjmp(here) == 0) swapcontext(&unused, &context);
}
#undef EL_OPAQUE
#endif

struct Fiber {
    Place place;
    std::unique_ptr<uint8_t[]> stack{new uint8_t[kStackBytes]};  // not touched before it is used
    bool has_begun = false;
    Block *block = nullptr;
    unsigned thread = 0, cluster_generation = 0;
    bool done = false;
    std::deque<std::vector<Copy>> copies;  // groups, the last of which is open
    const unsigned *waits_for = nullptr;   // to be another number than `seen`
    unsigned seen = 0;

    Warp &warp() { return block->warps[thread / 32]; }
};

struct Cluster {
    std::vector<Block> blocks;
    Barrier all;
    std::map<uintptr_t, Inbox> inboxes;
    const std::function<void()> *kernel = nullptr;
    unsigned predecessors_done = 0;  // 1: yes

    void hide() {
        if (predecessors.hide) predecessors.hide();
        predecessors_done = !predecessors.hide;
    }
    bool show() {  // false: everything is there already
        if (predecessors_done) return false;
        predecessors.show();
        predecessors_done = 1;
        return true;
    }
};
Cluster *cluster = nullptr;
Fiber *current = nullptr;
Place scheduler;

// A fiber runs one thread after another.
void enter() {
    for (;;) {
        (*cluster->kernel)();
        current->done = true;
        --current->block->running;
        go_on(current->place, scheduler);
    }
}

void enter_first(Fiber &fiber) {
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.get();
    context.uc_stack.ss_size = kStackBytes;
    context.uc_link = nullptr;
    makecontext(&context, enter, 0);
    fiber.has_begun = true;
    begin(scheduler, context);
}

void wait_for_change(const unsigned &generation, unsigned seen) {
    if (generation != seen) return;
    current->waits_for = &generation;
    current->seen = seen;
    go_on(current->place, scheduler);
}

void start(Fiber &fiber, Block &block, unsigned thread) {
    fiber.block = &block;
    fiber.thread = thread;
    fiber.done = false;
    fiber.waits_for = nullptr;
    fiber.copies.assign(1, {});
}

// Each of the warp's threads until it waits; whether one could go on.
bool run_warp(Fiber *fibers) {
    bool any = false;
    for (unsigned i = 0; i < 32; ++i) {
        Fiber &fiber = fibers[i];
        if (fiber.done || (fiber.waits_for && *fiber.waits_for == fiber.seen)) continue;
        any = true;
        fiber.waits_for = nullptr;
        current = &fiber;
        threadIdx = dim3(fiber.thread, 0, 0);
        blockIdx = fiber.block->index;
        if (fiber.has_begun)
            go_on(scheduler, fiber.place);
        else
            enter_first(fiber);
    }
    return any;
}

// Warps, and within a cluster blocks, are left only when they wait for others: who should wait and does not is far
// ahead of them.
bool run_block(Fiber *fibers, size_t n_threads) {
    bool any = false;
    for (size_t first = 0; first < n_threads; first += 32)
        while (run_warp(fibers + first)) any = true;
    return any;
}
void run_all(std::vector<Fiber> &fibers, size_t n_threads) {
    for (bool any = true; any;) {
        any = false;
        for (size_t first = 0; first < fibers.size(); first += n_threads)
            while (run_block(&fibers[first], n_threads)) any = true;
        any |= cluster->show();
    }
    for (const Fiber &fiber : fibers)
        if (!fiber.done) stop("all threads wait");
    for (const Block &block : cluster->blocks)
        for (const auto &[barrier, arrivals] : block.arrivals)
            if (!arrivals.copies.empty()) stop("a block ends while a copy to it is on its way");
}

}  // namespace

void stop(const char *why) {
    std::fprintf(stderr, "emulation: %s\n", why);
    std::abort();
}

void run(const Launch &launch, const std::function<void()> &kernel) {
    shared_bytes = launch.shared_bytes;
    copied_bytes = 0;
    gridDim = launch.blocks;
    blockDim = launch.threads;
    const unsigned n_threads = launch.threads.x;
    Cluster mine;
    mine.blocks.resize(launch.cluster);
    mine.kernel = &kernel;
    static std::vector<Fiber> fibers;
    if (cluster) fibers.clear();  // an exception ended the last run
    cluster = &mine;
    fibers.resize(launch.cluster * n_threads);
    for (unsigned z = 0; z < gridDim.z; ++z)
        for (unsigned y = 0; y < gridDim.y; ++y)
            for (unsigned x = 0; x < gridDim.x; x += launch.cluster) {
                mine.all = {launch.cluster * n_threads};
                mine.hide();
                mine.inboxes.clear();
                for (unsigned b = 0; b < launch.cluster; ++b) {
                    Block &block = mine.blocks[b];
                    block = {{x + b, y, z}, n_threads, {n_threads}, std::vector<Warp>(n_threads / 32), {}};
                    block.fences.assign(n_threads, 0);
                    block.shared.assign((shared_bytes + 15) / 16, {~0u, ~0u, ~0u, ~0u});
                    for (unsigned t = 0; t < n_threads; ++t) start(fibers[b * n_threads + t], block, t);
                }
                run_all(fibers, n_threads);
            }
    cluster = nullptr;
}

uint8_t *dynamic_shared() { return current->block->memory(); }

void wait_for_predecessor() { wait_for_change(cluster->predecessors_done, 0); }

void wait_for_block() {
    Barrier &all = current->block->all;
    wait_for_change(all.generation, all.arrive());
}
int count_in_block(bool x) {
    Block &block = *current->block;
    int &count = block.counts[block.all.generation % 2];
    if (block.all.arrived == 0) count = 0;
    count += x;
    wait_for_block();
    return count;
}
void wait_for_warp() {
    Barrier &warp = current->warp().barrier;
    wait_for_change(warp.generation, warp.arrive());
}

void wait_for_team(unsigned team, unsigned n_threads) {
    if (n_threads == 0 || n_threads % 32) stop("a team is not of whole warps");
    Barrier &all = current->block->teams[team];
    if (all.arrived > 0 && all.expected != n_threads) stop("a team's threads count it differently");
    all.expected = n_threads;
    wait_for_change(all.generation, all.arrive());
}

const void *exchange(const void *mine, size_t bytes) {
    Warp &warp = current->warp();
    uint8_t *all = warp.exchanged[warp.barrier.generation % 2];
    std::memcpy(all + current->thread % 32 * bytes, mine, bytes);
    wait_for_warp();
    return all;
}

static void arrive(const Copy &copy) {
    const auto *from = static_cast<const uint8_t *>(copy.from);
    auto *to = static_cast<uint8_t *>(copy.to);
    if (!from) std::memset(to, 0, copy.bytes);
    for (size_t i = 0; from && i < copy.n; ++i) std::memcpy(to + i * copy.stride, from + i * copy.bytes, copy.bytes);
}
void copy_async(void *to, const void *from, size_t bytes) {
    const Copy copy = {to, from, bytes};
    if (early_copies)
        arrive(copy);
    else
        current->copies.back().push_back(copy);
    if (from) copied_bytes += bytes;
}
void close_copies() { current->copies.emplace_back(); }
void wait_for_copies(int open) {
    auto &groups = current->copies;
    for (; groups.size() > size_t(open) + 1; groups.pop_front())
        std::for_each(groups.front().begin(), groups.front().end(), arrive);
}

void begin_copies(uint64_t *barrier) {
    if (!current->block->arrivals.emplace(barrier, Arrivals{}).second) stop("a barrier begins twice");
}
void copy_bulk(void *to, const void *from, size_t bytes, uint64_t *barrier, size_t n, size_t stride) {
    const auto found = current->block->arrivals.find(barrier);
    if (found == current->block->arrivals.end()) stop("a copy is for a barrier that has not begun");
    const size_t at = size_t(static_cast<uint8_t *>(to) - dynamic_shared());
    if (at > shared_bytes || (n - 1) * stride + bytes > shared_bytes - at) stop("a copy goes past a block's memory");
    Arrivals &a = found->second;
    if (!a.copies.empty()) stop("a copy is asked for before the one before it was waited for");
    if (a.n_asked && a.readers != ~0u) stop("a copy is asked for, and not all lanes have waited for the last");
    const unsigned *fences = &current->block->fences[current->thread / 32 * 32];
    for (unsigned i = 0; i < 32 && a.readers; ++i)
        if (fences[i] == a.fences[i]) stop("a copy is asked for, and a reader has made no fence");
    a.readers = 0;
    a.copies.push_back({to, from, bytes, n, stride});
    if (early_copies) arrive(a.copies.back());
    ++a.n_asked;
    copied_bytes += n * bytes;
}
void wait_for_bulk(const uint64_t *barrier, unsigned parity) {
    const auto found = current->block->arrivals.find(barrier);
    if (found == current->block->arrivals.end()) stop("a thread waits for a barrier that has not begun");
    Arrivals &a = found->second;
    if (a.n_arrived % 2 == parity && a.copies.empty()) wait_for_change(a.n_asked, a.n_asked);
    a.readers |= 1u << current->thread % 32;
    a.fences[current->thread % 32] = current->block->fences[current->thread];
    if (a.n_arrived % 2 != parity) return;
    if (!early_copies) arrive(a.copies.front());
    a.copies.pop_front();
    ++a.n_arrived;
}
void make_fence() { ++current->block->fences[current->thread]; }

void arrive_in_cluster() { current->cluster_generation = cluster->all.arrive(); }
void wait_for_cluster() { wait_for_change(cluster->all.generation, current->cluster_generation); }

uintptr_t address_in(unsigned block, const void *p) {
    const ptrdiff_t offset = static_cast<const uint8_t *>(p) - dynamic_shared();
    return reinterpret_cast<uintptr_t>(cluster->blocks[block].memory() + offset);
}

void expect(uint64_t *barrier, size_t bytes) {
    const Inbox inbox = {current->block, bytes, bytes == 0, {}};
    if (!cluster->inboxes.emplace(reinterpret_cast<uintptr_t>(barrier), inbox).second) stop("a barrier begins twice");
}

void send(uintptr_t to, uintptr_t barrier, const void *from, size_t bytes) {
    const auto found = cluster->inboxes.find(barrier);
    if (found == cluster->inboxes.end()) stop("bytes arrive on a barrier that has not begun");
    Inbox &inbox = found->second;
    if (inbox.open < bytes) stop("more bytes arrive on a barrier than it expects");
    if (inbox.owner->running == 0) stop("bytes arrive in a block that has ended");
    if (to % bytes) stop("an address is not aligned");
    const auto *data = static_cast<const uint8_t *>(from);
    inbox.stores.push_back({to, {data, data + bytes}});
    if ((inbox.open -= bytes) > 0) return;
    ++inbox.generation;
    for (const auto &[where, what] : inbox.stores)
        std::memcpy(reinterpret_cast<void *>(where), what.data(), what.size());
}

void wait_for_bytes(const uint64_t *barrier) {
    const auto found = cluster->inboxes.find(reinterpret_cast<uintptr_t>(barrier));
    if (found == cluster->inboxes.end()) stop("a thread waits for a barrier that has not begun");
    wait_for_change(found->second.generation, 0);
}

}  // namespace emulation

// Errors do not come up here.
namespace el::cuda {
bool is_sticky(cudaError_t) { return false; }
}  // namespace el::cuda
