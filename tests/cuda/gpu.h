// What tests on a GPU share.
#pragma once
#include "life.h"

#include <doctest/doctest.h>

extern unsigned skipped_cases;

// In a child process: CUDA does not survive a fork.
template <typename Body> void on_gpu(Body body) {
    const int result = in_child([&] {
        size_t n = 0;
        fake_cuda();
        if (edgellm_device_count(&n) != EDGELLM_OK || n < 2) return 98;
        return body();
    });
    if (result == 98) {
        std::fprintf(stderr, "skipped: there is no GPU\n");
        ++skipped_cases;
        return;
    }
    CHECK(result == 0);
}
