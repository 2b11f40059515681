// Counts the allocations of the whole process, on all threads, and makes chosen ones fail. Linked in, it takes the
// place of malloc and its relatives, so operator new and every library are covered.
#pragma once
#include <cstdint>

namespace allocations {

constexpr int64_t kNever = -1;
constexpr bool kAvailable =  // sanitizers bring their own malloc
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    false;
#else
    true;
#endif
#else
    true;
#endif

enum class Mode { kOnce, kFromThenOn };

// Starts to count at 0. The allocation with number `k` fails, or all from that number on.
void arm(int64_t k, Mode mode);
void disarm();      // nothing fails any more; the count stays
int64_t made();     // allocations since arm()
int64_t live();     // blocks allocated and not freed, since the process started
bool has_failed();  // something was refused since arm()

}  // namespace allocations
