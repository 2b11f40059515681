#include "allocations.h"

#include <atomic>
#include <cerrno>
#include <cstddef>

namespace {

std::atomic<int64_t> made_count{0}, live_count{0}, fail_at{allocations::kNever};
std::atomic<bool> fail_on{false}, failed{false};

}  // namespace

namespace allocations {

void arm(int64_t k, Mode mode) {
    made_count = 0;
    failed = false;
    fail_on = mode == Mode::kFromThenOn;
    fail_at = k;
}
void disarm() { fail_at = kNever; }
int64_t made() { return made_count; }
int64_t live() { return live_count; }
bool has_failed() { return failed; }

}  // namespace allocations

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

namespace {

// Counts one allocation; true when it has to fail.
bool refuse() {
    const int64_t number = made_count.fetch_add(1), limit = fail_at;
    if (limit == allocations::kNever || (fail_on ? number < limit : number != limit)) return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

void *count(void *block) {
    if (block) live_count.fetch_add(1);
    return block;
}

}  // namespace

// glibc's own names of what is replaced here.
extern "C" {
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

void *malloc(size_t bytes) { return refuse() ? nullptr : count(__libc_malloc(bytes)); }
void *calloc(size_t n, size_t bytes) { return refuse() ? nullptr : count(__libc_calloc(n, bytes)); }
void *memalign(size_t alignment, size_t bytes) { return refuse() ? nullptr : count(__libc_memalign(alignment, bytes)); }
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
void *realloc(void *block, size_t bytes) {
    if (!block) return malloc(bytes);
    return refuse() ? nullptr : __libc_realloc(block, bytes);
}
int posix_memalign(void **out, size_t alignment, size_t bytes) {
    void *block = memalign(alignment, bytes);
    if (!block) return ENOMEM;
    *out = block;
    return 0;
}
void free(void *block) {
    if (block) live_count.fetch_sub(1);
    __libc_free(block);
}
}

#endif
